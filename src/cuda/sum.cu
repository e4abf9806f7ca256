// Sums over rows and of vectors, and type conversion. T: the type of the elements. V: elements that a thread moves at a time.

// The sum of x's rows in each stripe, partial [gridDim.y, width].
KERNEL column_sums(float *partial, const T *x, int rows, int width, int across, int step) {
    Stripe<V> mine(rows, across, step);
    float sum[V] = {};
    if (mine.column < width) {
        #pragma unroll 4
        for (int row = mine.row; row < mine.end; row += mine.down) {
            auto values = load<V>(x + size_t(row) * width + mine.column);
            for (int j = 0; j < V; j++) sum[j] += number(values.at[j]);
        }
    }
    write_sums(partial, sum, width, across);
}

// One block: the sum of n numbers, in a fixed order.
KERNEL total(float *sum, const float *numbers, int n) {
    double mine = 0.0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) mine += numbers[i];
    __shared__ double parts[1024];
    parts[threadIdx.x] = mine;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *sum = float(parts[0]);
}

// x in another type.
KERNEL to_float(float *y, const bf16 *x, u64 n) {
    u64 i = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * V;
    if (i + V <= n) {
        auto values = load<V>(x + i);
        Vector<float, V> result;
        for (int j = 0; j < V; j++) result.at[j] = number(values.at[j]);
        store<V>(y + i, result);
    } else {
        for (; i < n; i++) y[i] = number(x[i]);
    }
}

KERNEL to_bf16(bf16 *y, const float *x, u64 n) {
    u64 i = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * V;
    if (i + V <= n) {
        auto values = load<V>(x + i);
        Vector<bf16, V> result;
        for (int j = 0; j < V; j++) put(&result.at[j], values.at[j]);
        store<V>(y + i, result);
    } else {
        for (; i < n; i++) put(y + i, x[i]);
    }
}
