// Sums of tensors and over rows. T: the type of the elements. V: elements that a thread moves at a time.

KERNEL add(T *y, const T *a, const T *b, int vectors) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto left = load<V>(a + size_t(i) * V), right = load<V>(b + size_t(i) * V);
    for (int j = 0; j < V; j++) put(&left.at[j], number(left.at[j]) + number(right.at[j]));
    store<V>(y + size_t(i) * V, left);
}

// Block (i, j) sums rows j·step .. (j + 1)·step of the i-th part of the columns into partial [blocks, width]. Its
// threads are rows of `across`, each of which takes V columns of every so many-th row; then they are added in order.
KERNEL column_sums(float *partial, const T *x, int rows, int width, int across, int step) {
    extern __shared__ float sums[];  // [down, across·V]
    int down = blockDim.x / across, mine = threadIdx.x % across, turn = threadIdx.x / across;
    int column = (blockIdx.x * across + mine) * V, end = min(rows, int(blockIdx.y + 1) * step);
    float sum[V] = {};
    if (column < width) {
        #pragma unroll 4
        for (int row = blockIdx.y * step + turn; row < end; row += down) {
            auto values = load<V>(x + size_t(row) * width + column);
            for (int j = 0; j < V; j++) sum[j] += number(values.at[j]);
        }
    }
    for (int j = 0; j < V; j++) sums[threadIdx.x * V + j] = sum[j];
    __syncthreads();
    for (int i = threadIdx.x; i < across * V; i += blockDim.x) {
        float total = 0.0f;
        for (int j = 0; j < down; j++) total += sums[j * across * V + i];
        int at = blockIdx.x * across * V + i;
        if (at < width) partial[size_t(blockIdx.y) * width + at] = total;
    }
}
