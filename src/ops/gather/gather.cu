// Rows of a table by index. T: the type of the elements, V: elements that a thread moves at a time.

// y[i] = table[rows[i]] for n rows of d elements.
KERNEL forward(T *y, const T *table, const u32 *rows, int vectors, int d) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    size_t at = size_t(i) * V, row = at / d, column = at % d;
    store<V>(y + at, load<V>(table + size_t(rows[row]) * d + column));
}

// First pass of backward: part c sums dy over places[starts[c]] .. places[starts[c + 1]], which are of one row.
KERNEL parts(float *sums, const T *dy, const u32 *places, const u32 *starts, int d) {
    int part = blockIdx.x;
    for (int column = threadIdx.x * V; column < d; column += blockDim.x * V) {
        float sum[V] = {};
        for (u32 i = starts[part]; i < starts[part + 1]; i++) {
            auto values = load<V>(dy + size_t(places[i]) * d + column);
            for (int j = 0; j < V; j++) sum[j] += number(values.at[j]);
        }
        for (int j = 0; j < V; j++) sums[size_t(part) * d + column + j] = sum[j];
    }
}

// Second pass: row r of the gradient sums parts firsts[r] .. firsts[r + 1], which may be empty.
KERNEL rows(T *gradient, const float *sums, const u32 *firsts, int vectors, int d) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    size_t at = size_t(i) * V, row = at / d, column = at % d;
    float sum[V] = {};
    for (u32 part = firsts[row]; part < firsts[row + 1]; part++)
        for (int j = 0; j < V; j++) sum[j] += sums[size_t(part) * d + column + j];
    Vector<T, V> result;
    for (int j = 0; j < V; j++) put(&result.at[j], sum[j]);
    store<V>(gradient + at, result);
}
