// Who sees whom, from the tokens' metadata, in tiles of 64 queries and 64 keys of one document.

constexpr int TILE = 64;

// What rules look at of a token, beside its kind.
struct alignas(16) Token {
    u32 order, time, row, column;
};

// A rule: where the keys that a query sees begin and how many there are behind, in the sequence, in time and in each
// position axis; counted from the query, modulo 2³², so that one comparison does for both ends.
struct alignas(16) Window {
    u32 order, orders, time, times, radius, reach, unused[2];

    __device__ bool holds(Token q, Token k) const {
        return (k.order - (q.order + order) <= orders) & (k.time - (q.time + time) <= times) &
               (k.row - (q.row - radius) <= reach) & (k.column - (q.column - radius) <= reach);
    }
};

// The rows of a document, and where its tiles are in the map: those of its first tile of queries, then the second's.
struct Document {
    int query, queries, key, keys, map;

    __device__ int query_tiles() const { return (queries + TILE - 1) / TILE; }
    __device__ int key_tiles() const { return (keys + TILE - 1) / TILE; }
};

// All that is known of an attention but its numbers.
struct View {
    const Document *documents;
    const int *query_tiles, *key_tiles;  // for each: its document, its number in it
    const Token *queries, *keys;
    const int *query_kinds, *key_kinds;
    const Window *windows;               // [kinds, kinds], queries first
    u8 *map;                             // for each pair of tiles, of its pairs are seen: NONE, SOME, ALL, or all where documents end (EDGE)
    u64 kinds;

    __device__ Window window(int q, int k) const { return windows[query_kinds[q] * kinds + key_kinds[k]]; }
    __device__ bool sees(int q, int k) const { return window(q, k).holds(queries[q], keys[k]); }
};

constexpr u8 NONE = 0, SOME = 1, ALL = 2, EDGE = 3;

// Block (query tile, key tile of the same document).
KERNEL classify(const View *all) {
    View view = *all;
    Document document = view.documents[view.query_tiles[2 * blockIdx.x]];
    int tile = view.query_tiles[2 * blockIdx.x + 1], key_tile = blockIdx.y;
    if (key_tile >= document.key_tiles()) return;
    int q = tile * TILE + threadIdx.x / 4, seen = 0;  // 256 threads: 4 for each query, 16 keys for each thread
    for (int i = 0; i < TILE / 4; i++) {
        int k = key_tile * TILE + threadIdx.x % 4 * (TILE / 4) + i;
        if (q < document.queries && k < document.keys)
            seen += view.sees(document.query + q, document.key + k);
    }
    float total = sum_over_block(float(seen));
    int there = min(TILE, document.queries - tile * TILE) * min(TILE, document.keys - key_tile * TILE);
    u8 state = total == 0.0f ? NONE : total == TILE * TILE ? ALL : total == there ? EDGE : SOME;
    if (threadIdx.x == 0) view.map[document.map + tile * document.key_tiles() + key_tile] = state;
}

// A tile's place in a strided line of the map, and what is seen of it.
struct Place {
    int tile;
    u8 seen;
};

// The first behind `last` that is not NONE, or `end`.
__device__ inline Place next(const u8 *line, int stride, int last, int end) {
    Place place = {last, NONE};
    while (place.seen == NONE && ++place.tile < end) place.seen = line[place.tile * stride];
    return place;
}
