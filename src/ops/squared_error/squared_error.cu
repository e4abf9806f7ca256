// Weighted mean squared error of rows [n, d]. T: the type of the predictions.

// A warp for each row: its weighted mean. Rows of weight 0 are not read.
KERNEL forward(float *losses, const T *prediction, const float *targets, const float *weights, int n, int d) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (row >= n) return;
    float sum = 0.0f, weight = weights[row];
    for (int i = threadIdx.x % 32; i < d && weight != 0.0f; i += 32) {
        float error = number(prediction[size_t(row) * d + i]) - targets[size_t(row) * d + i];
        sum += error * error;
    }
    sum = sum_over_warp(sum);
    if (threadIdx.x % 32 == 0) losses[row] = weight * sum / d;
}

// dx = dy·weight·2·(prediction − target)/d.
KERNEL backward(T *dx, const T *prediction, const float *targets, const float *weights, const float *dy,
                int elements, int d) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= elements) return;
    float weight = weights[i / d], error = 0.0f;
    if (weight != 0.0f) error = number(prediction[i]) - targets[i];
    put(dx + i, 2.0f * *dy / d * weight * error);
}
