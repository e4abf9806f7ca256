// Layer norm (CENTRE 1) and RMS norm (CENTRE 0): a warp for each row of D elements. T: the type of x, V: elements that
// a lane moves at a time.

constexpr int WARPS = 8, LANES = 32;
constexpr int STEPS = (D + LANES * V - 1) / (LANES * V);  // vectors of a row that a lane holds

// The elements of a row that this lane holds, 0 beyond the row's end.
__device__ inline void hold(float (&x)[STEPS][V], const T *row, int lane) {
    #pragma unroll
    for (int i = 0; i < STEPS; i++) {
        int column = (i * LANES + lane) * V;
        Vector<T, V> values = {};
        if (column < D) values = load<V>(row + column);
        for (int j = 0; j < V; j++) x[i][j] = number(values.at[j]);
    }
}

KERNEL forward(T *y, float *means, float *scales, const T *x, const float *weight, const float *bias, float eps, int n) {
    int lane = threadIdx.x % LANES, row = blockIdx.x * WARPS + threadIdx.x / LANES;
    if (row >= n) return;
    float held[STEPS][V];
    hold(held, x + size_t(row) * D, lane);
    float mean = 0.0f, variance = 0.0f;
    if (CENTRE) {
        #pragma unroll
        for (int i = 0; i < STEPS; i++)
            for (int j = 0; j < V; j++) mean += held[i][j];
        mean = sum_over_warp(mean) / D;
    }
    #pragma unroll
    for (int i = 0; i < STEPS; i++)
        for (int j = 0; j < V; j++)
            if ((i * LANES + lane) * V < D) variance += (held[i][j] - mean) * (held[i][j] - mean);
    float scale = rsqrtf(sum_over_warp(variance) / D + eps);
    if (lane == 0) means[row] = mean, scales[row] = scale;
    #pragma unroll
    for (int i = 0; i < STEPS; i++) {
        int column = (i * LANES + lane) * V;
        if (column >= D) continue;
        auto weights = load<V>(weight + column);
        Vector<float, V> biases = {};
        if (bias) biases = load<V>(bias + column);
        Vector<T, V> result;
        for (int j = 0; j < V; j++)
            put(&result.at[j], (held[i][j] - mean) * scale * weights.at[j] + biases.at[j]);
        store<V>(y + size_t(row) * D + column, result);
    }
}

// dx, added to `so_far` unless that is null, and each block's part of the gradients of weight and bias, partial
// [blocks, 2·D]. A warp takes every gridDim·WARPS-th row, so the parts depend on n alone.
KERNEL backward(T *dx, float *partial, const T *x, const float *weight, const T *dy, const float *means,
                const float *scales, const T *so_far, int n) {
    int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    float dw[STEPS][V] = {}, db[STEPS][V] = {};
    for (int row = blockIdx.x * WARPS + warp; row < n; row += gridDim.x * WARPS) {
        float normal[STEPS][V], g[STEPS][V], mean_g = 0.0f, mean_gx = 0.0f;
        hold(normal, x + size_t(row) * D, lane);
        hold(g, dy + size_t(row) * D, lane);
        float mean = means[row], scale = scales[row];
        #pragma unroll
        for (int i = 0; i < STEPS; i++) {
            int column = (i * LANES + lane) * V;
            Vector<float, V> weights = {};
            if (column < D) weights = load<V>(weight + column);
            for (int j = 0; j < V; j++) {
                normal[i][j] = (normal[i][j] - mean) * scale;
                dw[i][j] += g[i][j] * normal[i][j];
                db[i][j] += g[i][j];
                g[i][j] *= weights.at[j];
                mean_g += g[i][j];
                mean_gx += g[i][j] * normal[i][j];
            }
        }
        mean_g = CENTRE ? sum_over_warp(mean_g) / D : 0.0f;
        mean_gx = sum_over_warp(mean_gx) / D;
        #pragma unroll
        for (int i = 0; i < STEPS; i++) {
            int column = (i * LANES + lane) * V;
            if (column >= D) continue;
            Vector<T, V> result = {};
            if (so_far) result = load<V>(so_far + size_t(row) * D + column);
            for (int j = 0; j < V; j++)
                put(&result.at[j], number(result.at[j]) + scale * (g[i][j] - mean_g - normal[i][j] * mean_gx));
            store<V>(dx + size_t(row) * D + column, result);
        }
    }
    extern __shared__ float sums[];  // [2·D], the warps one after the other
    for (int i = threadIdx.x; i < 2 * D; i += blockDim.x) sums[i] = 0.0f;
    for (int turn = 0; turn < WARPS; turn++) {
        __syncthreads();
        if (turn != warp) continue;
        #pragma unroll
        for (int i = 0; i < STEPS; i++) {
            int column = (i * LANES + lane) * V;
            for (int j = 0; j < V; j++)
                if (column < D) sums[column + j] += dw[i][j], sums[D + column + j] += db[i][j];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * D; i += blockDim.x) partial[size_t(blockIdx.x) * 2 * D + i] = sums[i];
}
