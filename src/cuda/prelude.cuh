// Conversions, vectors and reductions for all kernels.

__device__ inline float number(float x) { return x; }
__device__ inline float number(bf16 x) { return __uint_as_float(u32(x.bits) << 16); }

__device__ inline void put(float *place, float x) { *place = x; }
__device__ inline void put(bf16 *place, float x) { place->bits = u16(pack(x, 0.0f)); }

// N neighbouring elements, moved at once.
template <class E, int N>
struct alignas(sizeof(E) * N) Vector {
    E at[N];
};

template <int N, class E>
__device__ inline Vector<E, N> load(const E *from) {
    return *reinterpret_cast<const Vector<E, N> *>(from);
}

template <int N, class E>
__device__ inline void store(E *to, const Vector<E, N> &vector) {
    *reinterpret_cast<Vector<E, N> *>(to) = vector;
}

__device__ inline float sum_over_warp(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
    return x;
}

__device__ inline float max_over_warp(float x) {
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
    return x;
}

// The sum over all threads of a block, in a fixed order, for every thread. At most 32 warps.
__device__ inline float sum_over_block(float x) {
    __shared__ float of_warp[32];
    int warps = (blockDim.x + 31) / 32, lane = threadIdx.x % 32;
    x = sum_over_warp(x);
    __syncthreads();
    if (lane == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    return sum_over_warp(lane < warps ? of_warp[lane] : 0.0f);
}

__device__ inline float max_over_block(float x) {
    __shared__ float of_warp[32];
    int warps = (blockDim.x + 31) / 32, lane = threadIdx.x % 32;
    x = max_over_warp(x);
    __syncthreads();
    if (lane == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    return max_over_warp(lane < warps ? of_warp[lane] : -INFINITE);
}

// The columns and rows of a matrix [rows, width] for one thread. A block has `across` threads in a row and takes rows
// blockIdx.y·step .. (blockIdx.y + 1)·step of the blockIdx.x-th part of the columns, V at a time.
template <int V>
struct Stripe {
    int column, row, end, down;

    __device__ Stripe(int rows, int across, int step) {
        column = (blockIdx.x * across + threadIdx.x % across) * V;
        row = blockIdx.y * step + threadIdx.x / across;
        end = min(rows, int(blockIdx.y + 1) * step);
        down = blockDim.x / across;
    }
};

// Adds the threads' sums of each column, in order, and writes the totals to partial [gridDim.y, width].
template <int V>
__device__ inline void write_sums(float *partial, const float (&sum)[V], int width, int across) {
    extern __shared__ float sums[];  // [down, across·V]
    for (int j = 0; j < V; j++) sums[threadIdx.x * V + j] = sum[j];
    __syncthreads();
    for (int i = threadIdx.x; i < across * V; i += blockDim.x) {
        float total = 0.0f;
        for (int j = 0; j < blockDim.x / across; j++) total += sums[j * across * V + i];
        int at = blockIdx.x * across * V + i;
        if (at < width) partial[size_t(blockIdx.y) * width + at] = total;
    }
}
