// A nonlinearity, with the bias that comes before it. F names it; T: the type of activations; V: elements a thread.

// y = F(x + bias) for each row of x [rows, width]; no bias: null.
KERNEL forward(T *y, const T *x, const float *bias, int vectors, int width) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto values = load<V>(x + size_t(i) * V);
    int column = size_t(i) * V % width;
    Vector<float, V> biases = {};
    if (bias) biases = load<V>(bias + column);
    for (int j = 0; j < V; j++) {
        float sum = number(values.at[j]) + biases.at[j];
        put(&values.at[j], F(sum).value);
    }
    store<V>(y + size_t(i) * V, values);
}

// dx = dy·F′(x).
KERNEL backward(T *dx, const T *x, const T *dy, int vectors) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto values = load<V>(x + size_t(i) * V), upstream = load<V>(dy + size_t(i) * V);
    for (int j = 0; j < V; j++) put(&values.at[j], F(number(values.at[j])).slope * number(upstream.at[j]));
    store<V>(dx + size_t(i) * V, values);
}

// The gradient before a bias is added, dx = dy·F′(x + bias), and its sum over each stripe's rows, partial [gridDim.y, width].
KERNEL backward_with_sums(T *dx, float *partial, const T *x, const float *bias, const T *dy, int rows, int width,
                          int across, int step) {
    Stripe<V> mine(rows, across, step);
    float sum[V] = {};
    if (mine.column < width) {
        auto biases = load<V>(bias + mine.column);
        #pragma unroll 2
        for (int row = mine.row; row < mine.end; row += mine.down) {
            size_t at = size_t(row) * width + mine.column;
            auto values = load<V>(x + at), upstream = load<V>(dy + at);
            for (int j = 0; j < V; j++) {
                float gradient = F(number(values.at[j]) + biases.at[j]).slope * number(upstream.at[j]);
                sum[j] += gradient;
                put(&values.at[j], gradient);
            }
            store<V>(dx + at, values);
        }
    }
    write_sums(partial, sum, width, across);
}
