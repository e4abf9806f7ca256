// Sums of two tensors. T: the type of the elements. V: elements that a thread moves at a time.

KERNEL add(T *y, const T *a, const T *b, int vectors) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= vectors) return;
    auto left = load<V>(a + size_t(i) * V), right = load<V>(b + size_t(i) * V);
    for (int j = 0; j < V; j++) put(&left.at[j], number(left.at[j]) + number(right.at[j]));
    store<V>(y + size_t(i) * V, left);
}
