// Sums of tensors and over rows. T: the type of the elements. V: elements that a thread moves at a time.

KERNEL add(T *y, const T *a, const T *b, int vectors) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto left = load<V>(a + size_t(i) * V), right = load<V>(b + size_t(i) * V);
    for (int j = 0; j < V; j++) put(&left.at[j], number(left.at[j]) + number(right.at[j]));
    store<V>(y + size_t(i) * V, left);
}

// x += bias for each row of x [rows, width].
KERNEL add_bias(T *x, const float *bias, int vectors, int width) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto values = load<V>(x + size_t(i) * V);
    int column = size_t(i) * V % width;
    for (int j = 0; j < V; j++) put(&values.at[j], number(values.at[j]) + bias[column + j]);
    store<V>(x + size_t(i) * V, values);
}

// Block (i, j) sums rows j·step .. (j + 1)·step of V·256 columns into partial [blocks, width].
KERNEL column_sums(float *partial, const T *x, int rows, int width, int step) {
    int column = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (column >= width) return;
    float sums[V] = {};
    int end = min(rows, int(blockIdx.y + 1) * step);
    for (int row = blockIdx.y * step; row < end; row++) {
        auto values = load<V>(x + size_t(row) * width + column);
        for (int j = 0; j < V; j++) sums[j] += number(values.at[j]);
    }
    for (int j = 0; j < V; j++) partial[size_t(blockIdx.y) * width + column + j] = sums[j];
}
