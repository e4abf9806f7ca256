// Nonlinearities, with the bias that comes before them. F names one; T: the type of activations; V: elements a thread.

struct Slope {
    float value, slope;
};

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

__device__ inline Slope gelu(float x) {
    float below = 0.5f * (1.0f + erff(x * 0.70710678f));
    return {x * below, below + x * 0.39894228f * __expf(-0.5f * x * x)};
}

__device__ inline Slope gelu_tanh(float x) {
    const float TWICE = 1.5957691f, CUBIC = 0.044715f;  // 2·√(2/π); (1 + tanh u)/2 = σ(2u)
    float s = sigmoid(TWICE * (x + CUBIC * x * x * x));
    return {x * s, s + x * TWICE * (1.0f + 3.0f * CUBIC * x * x) * s * (1.0f - s)};
}

__device__ inline Slope relu(float x) { return {x < 0.0f ? 0.0f : x, x > 0.0f ? 1.0f : 0.0f}; }

__device__ inline Slope silu(float x) {
    float s = sigmoid(x);
    return {x * s, s + x * s * (1.0f - s)};
}

__device__ inline Slope quick_gelu(float x) {
    const float STEEPNESS = 1.702f;
    float s = sigmoid(STEEPNESS * x);
    return {x * s, s + STEEPNESS * x * s * (1.0f - s)};
}

__device__ inline Slope hyperbolic_tangent(float x) {
    float y = tanhf(x);
    return {y, 1.0f - y * y};
}

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

// y = F(a)·b.
KERNEL gate(T *y, const T *a, const T *b, int vectors) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto values = load<V>(a + size_t(i) * V), factors = load<V>(b + size_t(i) * V);
    for (int j = 0; j < V; j++) put(&values.at[j], F(number(values.at[j])).value * number(factors.at[j]));
    store<V>(y + size_t(i) * V, values);
}

// da = dy·b·F′(a) and db = dy·F(a).
KERNEL gate_backward(T *da, T *db, const T *a, const T *b, const T *dy, int vectors) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto values = load<V>(a + size_t(i) * V), factors = load<V>(b + size_t(i) * V);
    auto upstream = load<V>(dy + size_t(i) * V);
    for (int j = 0; j < V; j++) {
        Slope at = F(number(values.at[j]));
        put(&values.at[j], number(upstream.at[j]) * number(factors.at[j]) * at.slope);
        put(&factors.at[j], number(upstream.at[j]) * at.value);
    }
    store<V>(da + size_t(i) * V, values);
    store<V>(db + size_t(i) * V, factors);
}
