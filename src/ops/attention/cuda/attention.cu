// Attention of bf16 heads of D features, D a multiple of 16, on the matrix units (Dao 2023). A block of four warps
// takes a tile of 64 rows, 16 for each warp, and loops over tiles of 64 columns, two of which are in shared memory. Rows
// are queries and columns are keys, except for the gradients of keys and values, where rows are keys.

constexpr int THREADS = 128, PITCH = D + 8;  // 16 bytes of padding, so that rows start at different banks
constexpr int SIZE = TILE * PITCH;
constexpr bool SMALL = D <= 64;  // registers suffice for as many blocks as fit shared memory
constexpr float LOG2_E = 1.4426950408889634f;

// The layout of heads in memory: queries [n, width], keys and values [m, 2·key_width], heads D apart; `group` query heads
// share one key-value head.
struct Heads {
    int n, width, key_width, group;
    float scale;
};

typedef float Scores[TILE / 8][4];    // of 16 rows and 64 columns
typedef float Features[D / 8][4];     // of 16 rows and D features

// Starts to copy rows 0 .. count of a matrix, `stride` apart, into a tile; the other rows are 0.
__device__ inline void fetch(bf16 *tile, const bf16 *rows, int stride, int count) {
    constexpr int PIECES = D / 8, AT_ONCE = THREADS / PIECES;  // pieces of 16 bytes in a row, and rows for all threads
    int row = threadIdx.x / PIECES, column = threadIdx.x % PIECES * 8;
    if (row >= AT_ONCE) return;
    const bf16 *from = rows + row * stride + column;
    bf16 *to = tile + row * PITCH + column;
    #pragma unroll
    for (int i = 0; i < TILE; i += AT_ONCE) {
        bool exists = row + i < count;
        if (i + AT_ONCE <= TILE || row + i < TILE) copy_16(to + i * PITCH, exists ? from + i * stride : rows, exists);
    }
}

// Groups of 16 columns in a full tile, and in a tile that starts `left` columns before the end of the document.
constexpr int GROUPS = TILE / 16;
__device__ inline int groups_of(int left) { return (min(left, TILE) + 15) / 16; }

__device__ inline void multiply_transposed_some(Scores &scores, const bf16 *rows, const bf16 *columns, int groups) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    #pragma unroll
    for (int i = 0; i < TILE / 8; i++)
        scores[i][0] = scores[i][1] = scores[i][2] = scores[i][3] = 0.0f;
    #pragma unroll
    for (int k = 0; k < D; k += 16) {
        u32 a[4], b[4];
        load_matrices(a, rows + (warp * 16 + lane % 16) * PITCH + k + lane / 16 * 8);
        #pragma unroll
        for (int i = 0; i < GROUPS; i++) {
            if (i >= groups) break;
            load_matrices(b, columns + (i * 16 + lane / 16 * 8 + lane % 8) * PITCH + k + lane / 8 % 2 * 8);
            multiply(scores[2 * i], a, b[0], b[1]);
            multiply(scores[2 * i + 1], a, b[2], b[3]);
        }
    }
}

// scores = rows·columnsᵀ, for this warp's 16 rows; 0 beyond the last group. Full tiles have no branches.
__device__ inline void multiply_transposed(Scores &scores, const bf16 *rows, const bf16 *columns, int groups) {
    if (groups == GROUPS)
        multiply_transposed_some(scores, rows, columns, GROUPS);
    else
        multiply_transposed_some(scores, rows, columns, groups);
}

__device__ inline void multiply_add_some(Features &features, const Scores &weights, const bf16 *columns, int groups) {
    int lane = threadIdx.x % 32;
    #pragma unroll
    for (int k = 0; k < GROUPS; k++) {
        if (k >= groups) break;
        const float *low = weights[2 * k], *high = weights[2 * k + 1];
        u32 b[4], a[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]), pack(high[2], high[3])};
        #pragma unroll
        for (int i = 0; i < D / 16; i++) {
            load_transposed(b, columns + (k * 16 + lane / 8 % 2 * 8 + lane % 8) * PITCH + i * 16 + lane / 16 * 8);
            multiply(features[2 * i], a, b[0], b[1]);
            multiply(features[2 * i + 1], a, b[2], b[3]);
        }
    }
}

// features += weights·columns, for this warp's 16 rows.
__device__ inline void multiply_add(Features &features, const Scores &weights, const bf16 *columns, int groups) {
    if (groups == GROUPS)
        multiply_add_some(features, weights, columns, GROUPS);
    else
        multiply_add_some(features, weights, columns, groups);
}

// The row of a tile for half `half` of this lane's elements, and the column of its pair i.
__device__ inline int row_of(int half) { return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * half; }
__device__ inline int column_of(int i) { return i * 8 + threadIdx.x % 4 * 2; }

// Scores that the mask does not allow become −∞. `row` and `column` are the first of n and m tokens.
template <bool ROWS_ARE_QUERIES>
__device__ inline void mask_scores(Scores &scores, const Mask &mask, int row, int n, int column, int m) {
    const Token *rows = ROWS_ARE_QUERIES ? mask.queries : mask.keys, *columns = ROWS_ARE_QUERIES ? mask.keys : mask.queries;
    int at[2] = {row + min(row_of(0), n - 1), row + min(row_of(1), n - 1)};
    Token own[2] = {rows[at[0]], rows[at[1]]};
    Window window = mask.windows[0];
    #pragma unroll
    for (int i = 0; i < TILE / 8; i++) {
        #pragma unroll
        for (int j = 0; j < 2; j++) {
            int c = column_of(i) + j, other = column + min(c, m - 1);
            Token token = columns[other];
            #pragma unroll
            for (int half = 0; half < 2; half++) {
                if (mask.kinds > 1) window = ROWS_ARE_QUERIES ? mask.window(at[half], other) : mask.window(other, at[half]);
                bool allowed = ROWS_ARE_QUERIES ? window.holds(own[half], token) : window.holds(token, own[half]);
                if (c >= m || !allowed) scores[i][2 * half + j] = -INFINITE;
            }
        }
    }
}

// Scores of columns from `end` on, after the end of the document, become −∞.
__device__ inline void mask_beyond(Scores &scores, int end) {
    #pragma unroll
    for (int i = 0; i < TILE / 8; i++) {
        #pragma unroll
        for (int j = 0; j < 4; j++)
            if (column_of(i) + j % 2 >= end) scores[i][j] = -INFINITE;
    }
}

// Writes this warp's rows, times `by` for each of its halves, to rows `stride` apart.
__device__ inline void write(bf16 *rows, int stride, int count, const Features &features, float by0, float by1) {
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = row_of(half);
        float by = half ? by1 : by0;
        if (row >= count) continue;
        #pragma unroll
        for (int i = 0; i < D / 8; i++) {
            u32 pair = pack(features[i][2 * half] * by, features[i][2 * half + 1] * by);
            *reinterpret_cast<u32 *>(rows + size_t(row) * stride + column_of(i)) = pair;
        }
    }
}

__device__ inline float max_over_four(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ inline float sum_over_four(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

// y and the log-sum-exp of each row and head, [heads, n]. Block (query tile, head), last tiles first: under causal rules
// they have the most keys.
KERNEL_OF(THREADS, SMALL ? 4 : 2)
forward(bf16 *y, float *log_sums, const bf16 *query, const bf16 *key_value, const Mask *mask_data, int n, int width,
        int key_width, int group, float scale_of_scores) {
    extern __shared__ __align__(16) bf16 shared[];
    bf16 *queries = shared, *keys = shared + SIZE, *values = shared + 3 * SIZE;
    Mask mask = *mask_data;
    Heads heads = {n, width, key_width, group, scale_of_scores};
    const int *own = mask.query_tiles + 2 * (gridDim.x - 1 - blockIdx.x);
    Document document = mask.documents[own[0]];
    int head = blockIdx.y, first = own[1] * TILE, count = min(TILE, document.queries - first);
    int tiles = document.key_tiles(), key_head = head / heads.group * D, stride = 2 * heads.key_width;
    const u8 *line = mask.map + document.map + own[1] * tiles;
    bool busy = threadIdx.x / 32 * 16 < count;  // this warp has rows
    size_t start = size_t(document.query + first) * heads.width + head * D;

    auto fetch_keys = [&](int tile, int stage) {
        const bf16 *rows = key_value + size_t(document.key + tile * TILE) * stride + key_head;
        int left = document.keys - tile * TILE;
        fetch(keys + stage * SIZE, rows, stride, left);
        fetch(values + stage * SIZE, rows + heads.key_width, stride, left);
    };
    Place place = next(line, 1, -1, tiles);
    int stage = 0;
    fetch(queries, query + start, heads.width, count);
    if (place.tile < tiles) fetch_keys(place.tile, stage);
    commit();

    Features sum = {};
    float highest[2] = {-INFINITE, -INFINITE}, total[2] = {}, scale = heads.scale * LOG2_E;
    while (place.tile < tiles) {
        Place following = next(line, 1, place.tile, tiles);
        if (following.tile < tiles) fetch_keys(following.tile, 1 - stage);
        commit();
        wait_for_all_but_last();
        __syncthreads();
        int left = document.keys - place.tile * TILE, groups = busy ? groups_of(left) : 0;
        Scores scores;
        multiply_transposed(scores, queries, keys + stage * SIZE, groups);
        if (place.state == SOME) {
            mask_scores<true>(scores, mask, document.query + first, count, document.key + place.tile * TILE, left);
        } else if (place.state == EDGE) {
            mask_beyond(scores, left);
        }
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = highest[half];
            #pragma unroll
            for (int i = 0; i < TILE / 8; i++)
                most = fmaxf(most, fmaxf(scores[i][2 * half], scores[i][2 * half + 1]));
            most = max_over_four(most);
            // No key is allowed yet: any finite base will do, but −∞ would give −∞ − −∞.
            float base = most == -INFINITE ? 0.0f : most * scale, shrink = power_of_two(highest[half] * scale - base);
            highest[half] = most;
            total[half] *= shrink;
            #pragma unroll
            for (int i = 0; i < TILE / 8; i++)
                #pragma unroll
                for (int j = 2 * half; j < 2 * half + 2; j++) {
                    scores[i][j] = power_of_two(scores[i][j] * scale - base);
                    total[half] += scores[i][j];
                }
            #pragma unroll
            for (int i = 0; i < D / 8; i++) sum[i][2 * half] *= shrink, sum[i][2 * half + 1] *= shrink;
        }
        multiply_add(sum, scores, values + stage * SIZE, groups);
        __syncthreads();
        place = following;
        stage = 1 - stage;
    }
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        total[half] = sum_over_four(total[half]);
        int row = row_of(half);
        float log_sum = total[half] > 0.0f ? highest[half] * heads.scale + logf(total[half]) : -INFINITE;
        if (threadIdx.x % 4 == 0 && row < count)
            log_sums[size_t(head) * heads.n + document.query + first + row] = log_sum;
        total[half] = total[half] > 0.0f ? 1.0f / total[half] : 0.0f;
    }
    write(y + start, heads.width, count, sum, total[0], total[1]);
}

// The recomputed weight of a pair: e^(score − log-sum-exp). `base` is the log-sum-exp in bits, 0 for a query without keys.
__device__ inline float weight(float score, float scale, float base) { return power_of_two(score * scale - base); }
__device__ inline float in_bits(float log_sum) { return log_sum == -INFINITE ? 0.0f : log_sum * LOG2_E; }

// The gradient of queries; also writes Σ y·dy of each row and head, [heads, n]. Block (query tile, head).
KERNEL_OF(THREADS, SMALL ? 3 : 2)
query_gradient(bf16 *d_query, float *products, const bf16 *query, const bf16 *key_value, const bf16 *y, const bf16 *dy,
               const float *log_sums, const Mask *mask_data, int n, int width, int key_width, int group,
               float scale_of_scores) {
    extern __shared__ __align__(16) bf16 shared[];
    bf16 *queries = shared, *upstream = shared + SIZE, *keys = shared + 2 * SIZE, *values = shared + 4 * SIZE;
    Mask mask = *mask_data;
    Heads heads = {n, width, key_width, group, scale_of_scores};
    const int *own = mask.query_tiles + 2 * (gridDim.x - 1 - blockIdx.x);
    Document document = mask.documents[own[0]];
    int head = blockIdx.y, first = own[1] * TILE, count = min(TILE, document.queries - first);
    int tiles = document.key_tiles(), key_head = head / heads.group * D, stride = 2 * heads.key_width;
    const u8 *line = mask.map + document.map + own[1] * tiles;
    bool busy = threadIdx.x / 32 * 16 < count;  // this warp has rows
    size_t start = size_t(document.query + first) * heads.width + head * D;

    auto fetch_keys = [&](int tile, int stage) {
        const bf16 *rows = key_value + size_t(document.key + tile * TILE) * stride + key_head;
        int left = document.keys - tile * TILE;
        fetch(keys + stage * SIZE, rows, stride, left);
        fetch(values + stage * SIZE, rows + heads.key_width, stride, left);
    };
    Place place = next(line, 1, -1, tiles);
    int stage = 0;
    fetch(queries, query + start, heads.width, count);
    fetch(upstream, dy + start, heads.width, count);
    if (place.tile < tiles) fetch_keys(place.tile, stage);
    commit();

    float base[2], product[2], scale = heads.scale * LOG2_E;
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        size_t row = size_t(head) * heads.n + document.query + first + row_of(half);
        bool exists = row_of(half) < count;
        base[half] = exists ? in_bits(log_sums[row]) : 0.0f;
        product[half] = 0.0f;
        for (int i = threadIdx.x % 4 * 8; exists && i < D; i += 32) {
            size_t at = start + size_t(row_of(half)) * heads.width + i;
            auto result = load<8>(y + at), gradient = load<8>(dy + at);
            for (int j = 0; j < 8; j++) product[half] += number(result.at[j]) * number(gradient.at[j]);
        }
        product[half] = sum_over_four(product[half]);
        if (exists && threadIdx.x % 4 == 0) products[row] = product[half];
    }
    Features sum = {};
    while (place.tile < tiles) {
        Place following = next(line, 1, place.tile, tiles);
        if (following.tile < tiles) fetch_keys(following.tile, 1 - stage);
        commit();
        wait_for_all_but_last();
        __syncthreads();
        int left = document.keys - place.tile * TILE, groups = busy ? groups_of(left) : 0;
        Scores scores, slopes;
        multiply_transposed(scores, queries, keys + stage * SIZE, groups);
        if (place.state == SOME) {
            mask_scores<true>(scores, mask, document.query + first, count, document.key + place.tile * TILE, left);
        } else if (place.state == EDGE) {
            mask_beyond(scores, left);
        }
        multiply_transposed(slopes, upstream, values + stage * SIZE, groups);
        #pragma unroll
        for (int i = 0; i < TILE / 8; i++)
            #pragma unroll
            for (int j = 0; j < 4; j++)
                slopes[i][j] = weight(scores[i][j], scale, base[j / 2]) * (slopes[i][j] - product[j / 2]);
        multiply_add(sum, slopes, keys + stage * SIZE, groups);
        __syncthreads();
        place = following;
        stage = 1 - stage;
    }
    write(d_query + start, heads.width, count, sum, heads.scale, heads.scale);
}

// The gradients of keys and values. Block (key tile, key head), which loops over the tiles of queries of its group's heads.
KERNEL_OF(THREADS, SMALL ? 3 : 2)
key_gradient(bf16 *d_key_value, const bf16 *query, const bf16 *key_value, const bf16 *dy, const float *log_sums,
             const float *products, const Mask *mask_data, int n, int width, int key_width, int group,
             float scale_of_scores) {
    extern __shared__ __align__(16) bf16 shared[];
    bf16 *keys = shared, *values = shared + SIZE, *queries = shared + 2 * SIZE, *upstream = shared + 4 * SIZE;
    float *bases = reinterpret_cast<float *>(shared + 6 * SIZE), *sums = bases + 2 * TILE;  // two stages of each
    Mask mask = *mask_data;
    Heads heads = {n, width, key_width, group, scale_of_scores};
    const int *own = mask.key_tiles + 2 * blockIdx.x;
    Document document = mask.documents[own[0]];
    int first = own[1] * TILE, count = min(TILE, document.keys - first), tiles = document.query_tiles();
    int columns = document.key_tiles(), stride = 2 * heads.key_width;
    const u8 *line = mask.map + document.map + own[1];
    bool busy = threadIdx.x / 32 * 16 < count;
    size_t start = size_t(document.key + first) * stride + blockIdx.y * D;

    auto fetch_queries = [&](int head, int tile, int stage) {
        int row = document.query + tile * TILE, left = document.queries - tile * TILE;
        size_t at = size_t(row) * heads.width + head * D;
        fetch(queries + stage * SIZE, query + at, heads.width, left);
        fetch(upstream + stage * SIZE, dy + at, heads.width, left);
        if (threadIdx.x < TILE) {
            bool exists = threadIdx.x < left;
            size_t of = size_t(head) * heads.n + row + threadIdx.x;
            bases[stage * TILE + threadIdx.x] = exists ? in_bits(log_sums[of]) : 0.0f;
            sums[stage * TILE + threadIdx.x] = exists ? products[of] : 0.0f;
        }
    };
    fetch(keys, key_value + start, stride, count);
    fetch(values, key_value + start + heads.key_width, stride, count);
    int head = blockIdx.y * heads.group, last_head = head + heads.group, stage = 0;
    Place place = next(line, columns, -1, tiles);
    bool none = place.tile == tiles;
    if (!none) fetch_queries(head, place.tile, stage);
    commit();

    Features d_keys = {}, d_values = {};
    float scale = heads.scale * LOG2_E;
    while (!none && head < last_head) {
        Place following = next(line, columns, place.tile, tiles);
        int following_head = head;
        if (following.tile == tiles) following = next(line, columns, -1, tiles), following_head++;
        if (following_head < last_head) fetch_queries(following_head, following.tile, 1 - stage);
        commit();
        wait_for_all_but_last();
        __syncthreads();
        int left = document.queries - place.tile * TILE, groups = busy ? groups_of(left) : 0;
        Scores weights, slopes;
        multiply_transposed(weights, keys, queries + stage * SIZE, groups);
        if (place.state == SOME) {
            mask_scores<false>(weights, mask, document.key + first, count, document.query + place.tile * TILE, left);
        } else if (place.state == EDGE) {
            mask_beyond(weights, left);
        }
        multiply_transposed(slopes, values, upstream + stage * SIZE, groups);
        #pragma unroll
        for (int i = 0; i < TILE / 8; i++)
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                int column = stage * TILE + column_of(i) + j % 2;
                weights[i][j] = weight(weights[i][j], scale, bases[column]);
                slopes[i][j] = weights[i][j] * (slopes[i][j] - sums[column]);
            }
        multiply_add(d_values, weights, upstream + stage * SIZE, groups);
        multiply_add(d_keys, slopes, queries + stage * SIZE, groups);
        __syncthreads();
        place = following;
        head = following_head;
        stage = 1 - stage;
    }
    write(d_key_value + start, stride, count, d_keys, heads.scale, heads.scale);
    write(d_key_value + start + heads.key_width, stride, count, d_values, 1.0f, 1.0f);
}
