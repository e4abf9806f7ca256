// A nonlinearity of one tensor times another. F names it; T: the type of activations; V: elements a thread.

// y = F(a)·b.
KERNEL forward(T *y, const T *a, const T *b, int vectors) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto values = load<V>(a + size_t(i) * V), factors = load<V>(b + size_t(i) * V);
    for (int j = 0; j < V; j++) put(&values.at[j], F(number(values.at[j])).value * number(factors.at[j]));
    store<V>(y + size_t(i) * V, values);
}

// da = dy·b·F′(a) and db = dy·F(a).
KERNEL backward(T *da, T *db, const T *a, const T *b, const T *dy, int vectors) {
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
