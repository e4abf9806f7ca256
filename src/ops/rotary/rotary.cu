// Rotary position embedding of the first 2·half features of each head. T: the type of the elements. Block (row, part of
// its columns); sign −1 rotates back.
KERNEL rotate(T *y, const T *x, const float *cosines, const float *sines, float sign, int width, int columns, int half,
              int d_head) {
    int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= width) return;
    const T *row = x + size_t(blockIdx.x) * width;
    int place = column % d_head, pair = place % half;
    float result = number(row[column]);
    if (column < columns && place < 2 * half) {
        float c = cosines[size_t(blockIdx.x) * half + pair], s = sign * sines[size_t(blockIdx.x) * half + pair];
        result = place < half ? result * c - number(row[column + half]) * s : result * c + number(row[column - half]) * s;
    }
    put(y + size_t(blockIdx.x) * width + column, result);
}
