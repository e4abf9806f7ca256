// Attention of heads of any size D in plain arithmetic: for f32, with biases, and for heads that do not fit the matrix
// units' tiles. A warp takes one row at a time; its lanes take 32 columns, then share their weights and take the features.

constexpr int WARPS = 8, ROWS = TILE / WARPS, PARTS = (D + 31) / 32;  // features that a lane holds

// The biases of scores: for each bucket of distances and each head, table [buckets, heads]; null for no biases.
struct Bias {
    const float *table;
    const int *bucket_of;  // of each distance −furthest..=furthest; greater distances share the last
    int furthest, heads;

    // The bucket of a key's place minus a query's.
    __device__ int bucket(Token q, Token k) const {
        return bucket_of[max(-furthest, min(furthest, int(k.order) - int(q.order))) + furthest];
    }
    __device__ float of(int head, Token q, Token k) const {
        return table ? table[bucket(q, k) * heads + head] : 0.0f;
    }
};

// Adds each lane's number to the sum of its bucket. One lane owns a sum and adds the numbers in order.
__device__ inline void scatter(float *sums, float number, int bucket, int lane) {
    for (int other = 0; other < 32; other++) {
        float x = __shfl_sync(~0u, number, other);
        int to = __shfl_sync(~0u, bucket, other);
        if (to % 32 == lane) sums[to] += x;
    }
}

__device__ inline float dot(const float *a, const T *b) {
    float sum = 0.0f;
    for (int i = 0; i < D; i++) sum += a[i] * number(b[i]);
    return sum;
}

// sum += Σ over lanes of the lane's weight times its row, the lane holding features lane, lane + 32, …
__device__ inline void gather(float (&sum)[PARTS], float weight, const T *rows, int stride, int first, int end, int lane) {
    for (int other = 0; other < 32 && first + other < end; other++) {
        float w = __shfl_sync(~0u, weight, other);
        for (int i = 0; i < PARTS; i++) {
            int feature = i * 32 + lane;
            if (feature < D) sum[i] += w * number(rows[size_t(other) * stride + feature]);
        }
    }
}

// Copies a row for all lanes to read.
__device__ inline void share(float *to, const T *row, int lane) {
    __syncwarp();
    for (int i = lane; i < D; i += 32) to[i] = number(row[i]);
    __syncwarp();
}

__device__ inline void write(T *row, const float (&sum)[PARTS], float by, int lane) {
    for (int i = 0; i < PARTS; i++)
        if (i * 32 + lane < D) put(row + i * 32 + lane, sum[i] * by);
}

KERNEL forward(T *y, float *log_sums, const T *query, const T *key_value, const float *table, const int *bucket_of,
               int furthest, const Mask *mask_data, int n, int width, int key_width, int group, float scale) {
    __shared__ float own[WARPS][D];
    Mask mask = *mask_data;
    Bias bias = {table, bucket_of, furthest, width / D};
    const int *place = mask.query_tiles + 2 * blockIdx.x;
    Document document = mask.documents[place[0]];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y, tiles = document.key_tiles();
    const u8 *line = mask.map + document.map + place[1] * tiles;
    for (int r = place[1] * TILE + warp * ROWS; r < min(document.queries, place[1] * TILE + (warp + 1) * ROWS); r++) {
        size_t at = size_t(document.query + r) * width + head * D;
        share(own[warp], query + at, lane);
        float sum[PARTS] = {}, highest = -INFINITE, total = 0.0f;
        for (int tile = next(line, 1, -1, tiles).tile; tile < tiles; tile = next(line, 1, tile, tiles).tile) {
            for (int first = tile * TILE; first < min(document.keys, (tile + 1) * TILE); first += 32) {
                int k = first + lane;
                const T *keys = key_value + size_t(document.key + first) * 2 * key_width + head / group * D;
                bool allowed = k < document.keys && mask.allows(document.query + r, document.key + k);
                float score = -INFINITE;
                if (allowed) {
                    score = scale * dot(own[warp], keys + size_t(lane) * 2 * key_width);
                    score += bias.of(head, mask.queries[document.query + r], mask.keys[document.key + k]);
                }
                float most = fmaxf(highest, max_over_warp(score)), base = most == -INFINITE ? 0.0f : most;
                float shrink = expf(highest - base), weight = expf(score - base);
                highest = most;
                total = total * shrink + sum_over_warp(weight);
                for (int i = 0; i < PARTS; i++) sum[i] *= shrink;
                gather(sum, weight, keys + key_width, 2 * key_width, first, document.keys, lane);
            }
        }
        write(y + at, sum, total > 0.0f ? 1.0f / total : 0.0f, lane);
        if (lane == 0) log_sums[size_t(head) * n + document.query + r] = total > 0.0f ? highest + logf(total) : -INFINITE;
    }
}

// Also writes Σ y·dy of each row and head, [heads, n], and the tile's part of the gradient of the table, if any,
// [tiles of queries, buckets, heads].
KERNEL query_gradient(T *d_query, float *products, float *d_table, int buckets, const T *query, const T *key_value,
                      const T *y, const T *dy, const float *log_sums, const float *table, const int *bucket_of,
                      int furthest, const Mask *mask_data, int n, int width, int key_width, int group, float scale) {
    __shared__ float own[WARPS][D], upstream[WARPS][D];
    extern __shared__ float sums[];  // [WARPS, buckets]
    Mask mask = *mask_data;
    Bias bias = {table, bucket_of, furthest, width / D};
    const int *place = mask.query_tiles + 2 * blockIdx.x;
    Document document = mask.documents[place[0]];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.y, tiles = document.key_tiles();
    const u8 *line = mask.map + document.map + place[1] * tiles;
    for (int i = lane; i < buckets; i += 32) sums[warp * buckets + i] = 0.0f;
    for (int r = place[1] * TILE + warp * ROWS; r < min(document.queries, place[1] * TILE + (warp + 1) * ROWS); r++) {
        size_t at = size_t(document.query + r) * width + head * D, of = size_t(head) * n + document.query + r;
        share(own[warp], query + at, lane);
        share(upstream[warp], dy + at, lane);
        float sum[PARTS] = {}, log_sum = log_sums[of], product = 0.0f;
        for (int i = lane; i < D; i += 32) product += number(y[at + i]) * upstream[warp][i];
        product = sum_over_warp(product);
        if (lane == 0) products[of] = product;
        for (int tile = next(line, 1, -1, tiles).tile; tile < tiles; tile = next(line, 1, tile, tiles).tile) {
            for (int first = tile * TILE; first < min(document.keys, (tile + 1) * TILE); first += 32) {
                int k = first + lane;
                const T *keys = key_value + size_t(document.key + first) * 2 * key_width + head / group * D;
                bool allowed = k < document.keys && mask.allows(document.query + r, document.key + k);
                float slope = 0.0f;
                int bucket = 0;
                if (allowed) {
                    const T *key = keys + size_t(lane) * 2 * key_width;
                    Token q = mask.queries[document.query + r], token = mask.keys[document.key + k];
                    float score = scale * dot(own[warp], key) + bias.of(head, q, token);
                    slope = expf(score - log_sum) * (dot(upstream[warp], key + key_width) - product);
                    if (table) bucket = bias.bucket(q, token);
                }
                gather(sum, slope, keys, 2 * key_width, first, document.keys, lane);
                if (table) scatter(sums + warp * buckets, slope, bucket, lane);
            }
        }
        write(d_query + at, sum, scale, lane);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < buckets; i += blockDim.x) {
        float total = 0.0f;
        for (int w = 0; w < WARPS; w++) total += sums[w * buckets + i];
        d_table[(size_t(blockIdx.x) * buckets + i) * bias.heads + head] = total;
    }
}

KERNEL key_gradient(T *d_key_value, const T *query, const T *key_value, const T *dy, const float *log_sums,
                    const float *products, const float *table, const int *bucket_of, int furthest, const Mask *mask_data, int n,
                    int width, int key_width, int group, float scale) {
    __shared__ float key[WARPS][D], value[WARPS][D];
    Mask mask = *mask_data;
    Bias bias = {table, bucket_of, furthest, width / D};
    const int *place = mask.key_tiles + 2 * blockIdx.x;
    Document document = mask.documents[place[0]];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = document.query_tiles(), columns = document.key_tiles();
    const u8 *line = mask.map + document.map + place[1];
    for (int r = place[1] * TILE + warp * ROWS; r < min(document.keys, place[1] * TILE + (warp + 1) * ROWS); r++) {
        size_t at = size_t(document.key + r) * 2 * key_width + blockIdx.y * D;
        share(key[warp], key_value + at, lane);
        share(value[warp], key_value + at + key_width, lane);
        float d_key[PARTS] = {}, d_value[PARTS] = {};
        for (int head = blockIdx.y * group; head < int(blockIdx.y + 1) * group; head++) {
            for (int tile = next(line, columns, -1, tiles).tile; tile < tiles; tile = next(line, columns, tile, tiles).tile) {
                for (int first = tile * TILE; first < min(document.queries, (tile + 1) * TILE); first += 32) {
                    int q = first + lane;
                    size_t rows = size_t(document.query + first) * width + head * D;
                    bool allowed = q < document.queries && mask.allows(document.query + q, document.key + r);
                    float weight = 0.0f, slope = 0.0f;
                    if (allowed) {
                        size_t of = size_t(head) * n + document.query + q, mine = rows + size_t(lane) * width;
                        float score = scale * dot(key[warp], query + mine);
                        score += bias.of(head, mask.queries[document.query + q], mask.keys[document.key + r]);
                        weight = expf(score - log_sums[of]);
                        slope = weight * (dot(value[warp], dy + mine) - products[of]);
                    }
                    gather(d_value, weight, dy + rows, width, first, document.queries, lane);
                    gather(d_key, slope, query + rows, width, first, document.queries, lane);
                }
            }
        }
        write(d_key_value + at, d_key, scale, lane);
        write(d_key_value + at + key_width, d_value, 1.0f, lane);
    }
}
