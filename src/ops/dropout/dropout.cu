// Dropout whose mask is hashed from a row's key and a column, as on the CPU. T: the type of the elements.

__device__ inline u64 mix(u64 z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

__device__ inline u32 hash(u64 key, u32 column) {
    u32 h = column * 0x9E3779B1u ^ u32(key);
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu + u32(key >> 32);
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return h ^ (h >> 16);
}

// Block (row, part of its columns).
KERNEL apply(T *y, const T *x, const u64 *rows, u64 seed, u32 dropped, float scale, int d) {
    int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= d) return;
    u64 key = mix(mix(seed + 0x9E3779B97F4A7C15ull) ^ rows[blockIdx.x]);
    size_t at = size_t(blockIdx.x) * d + column;
    put(y + at, hash(key, column) < dropped ? 0.0f : number(x[at]) * scale);
}
