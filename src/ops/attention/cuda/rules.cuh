// The attention mask, from the tokens' metadata, in tiles of 64 queries and 64 keys of one document.

constexpr int TILE = 64;

// The metadata that rules compare, without the kind.
struct alignas(16) Token {
    u32 order, time, row, column;
};

// A rule as ranges of keys in the sequence, in time and in each position axis: the first key relative to the query, and
// the number of keys after the first; modulo 2³², so that one comparison checks both ends.
struct alignas(16) Window {
    u32 order, orders, time, times, radius, reach, unused[2];

    __device__ bool holds(Token q, Token k) const {
        return (k.order - (q.order + order) <= orders) & (k.time - (q.time + time) <= times) &
               (k.row - (q.row - radius) <= reach) & (k.column - (q.column - radius) <= reach);
    }
};

// The rows of a document, and the offset of its tiles in the map, row-major by tile of queries.
struct Document {
    int query, queries, key, keys, map;

    __device__ int query_tiles() const { return (queries + TILE - 1) / TILE; }
    __device__ int key_tiles() const { return (keys + TILE - 1) / TILE; }
};

// The mask of one attention.
struct Mask {
    const Document *documents;
    const int *query_tiles, *key_tiles;  // for each tile: its document, its number in the document
    const Token *queries, *keys;
    const int *query_kinds, *key_kinds;
    const Window *windows;               // [kinds, kinds], queries first
    u8 *map;                             // the state of each pair of tiles
    u64 kinds;

    __device__ Window window(int q, int k) const { return windows[query_kinds[q] * kinds + key_kinds[k]]; }
    __device__ bool allows(int q, int k) const { return window(q, k).holds(queries[q], keys[k]); }
};

// The state of a pair of tiles: how many of its pairs of tokens the mask allows. EDGE: all, but the document ends within a tile.
constexpr u8 NONE = 0, SOME = 1, ALL = 2, EDGE = 3;

// Block (query tile, key tile of the same document).
KERNEL classify(const Mask *mask_data) {
    Mask mask = *mask_data;
    Document document = mask.documents[mask.query_tiles[2 * blockIdx.x]];
    int tile = mask.query_tiles[2 * blockIdx.x + 1], key_tile = blockIdx.y;
    if (key_tile >= document.key_tiles()) return;
    int q = tile * TILE + threadIdx.x / 4, allowed = 0;  // 256 threads: 4 for each query, 16 keys for each thread
    for (int i = 0; i < TILE / 4; i++) {
        int k = key_tile * TILE + threadIdx.x % 4 * (TILE / 4) + i;
        if (q < document.queries && k < document.keys)
            allowed += mask.allows(document.query + q, document.key + k);
    }
    float total = sum_over_block(float(allowed));
    int pairs = min(TILE, document.queries - tile * TILE) * min(TILE, document.keys - key_tile * TILE);
    u8 state = total == 0.0f ? NONE : total == TILE * TILE ? ALL : total == pairs ? EDGE : SOME;
    if (threadIdx.x == 0) mask.map[document.map + tile * document.key_tiles() + key_tile] = state;
}

// A tile's place in a strided line of the map, and its state.
struct Place {
    int tile;
    u8 state;
};

// The first tile after `last` that is not NONE, or `end`.
__device__ inline Place next(const u8 *line, int stride, int last, int end) {
    Place place = {last, NONE};
    while (place.state == NONE && ++place.tile < end) place.state = line[place.tile * stride];
    return place;
}
