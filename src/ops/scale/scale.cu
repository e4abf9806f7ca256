// One vector for all rows of a matrix x [rows, width]. T: the type of x, V: elements that a thread moves at a time.

// y = x·by + added; `by` and `added` may be null.
KERNEL forward(T *y, const T *x, const float *by, const float *added, int vectors, int width) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    int column = size_t(i) * V % width;
    auto values = load<V>(x + size_t(i) * V);
    for (int j = 0; j < V; j++) {
        float scaled = number(values.at[j]) * (by ? by[column + j] : 1.0f);
        put(&values.at[j], scaled + (added ? added[column + j] : 0.0f));
    }
    store<V>(y + size_t(i) * V, values);
}

// dx = dy·by, and the sum of dy·x over each stripe's rows, partial [gridDim.y, width].
KERNEL backward(T *dx, float *partial, const T *x, const float *by, const T *dy, int rows, int width, int across,
                int step) {
    Stripe<V> mine(rows, across, step);
    float sum[V] = {};
    if (mine.column < width) {
        auto factors = load<V>(by + mine.column);
        #pragma unroll 2
        for (int row = mine.row; row < mine.end; row += mine.down) {
            size_t at = size_t(row) * width + mine.column;
            auto values = load<V>(x + at), upstream = load<V>(dy + at);
            for (int j = 0; j < V; j++) {
                sum[j] += number(upstream.at[j]) * number(values.at[j]);
                put(&values.at[j], number(upstream.at[j]) * factors.at[j]);
            }
            store<V>(dx + at, values);
        }
    }
    write_sums(partial, sum, width, across);
}
