// Cross entropy of rows of logits [n, v]. T: the type of the logits, V: elements that a thread moves at a time.

// A running Σ e^(x − highest).
struct Exponentials {
    float highest = -INFINITE, sum = 0.0f;

    __device__ void add(float x) {
        if (x > highest) {
            sum *= __expf(highest - x);  // 0 at first: 0·e^−∞
            highest = x;
        }
        if (x > -INFINITE) sum += __expf(x - highest);
    }
};

// One block a row: its log Σ eˣ and its weighted loss. Rows of weight 0 are not read.
KERNEL forward(float *log_sums, float *losses, const T *logits, const u32 *targets, const float *weights,
               float smoothing, int v) {
    int row = blockIdx.x;
    if (weights[row] == 0.0f) {
        if (threadIdx.x == 0) losses[row] = 0.0f, log_sums[row] = 0.0f;
        return;
    }
    const T *x = logits + size_t(row) * v;
    Exponentials mine;
    float plain = 0.0f;
    for (int i = threadIdx.x * V; i < v; i += blockDim.x * V) {
        auto values = load<V>(x + i);
        for (int j = 0; j < V; j++) {
            mine.add(number(values.at[j]));
            plain += number(values.at[j]);
        }
    }
    float highest = max_over_block(mine.highest);
    float sum = sum_over_block(mine.highest == -INFINITE ? 0.0f : mine.sum * __expf(mine.highest - highest));
    plain = sum_over_block(plain);
    if (threadIdx.x > 0) return;
    float log_sum = highest + logf(sum);
    float loss = (1.0f - smoothing) * (log_sum - number(x[targets[row]]));
    // Without smoothing, the other logits have no effect, even if they are −∞.
    if (smoothing > 0.0f) loss += smoothing * (log_sum - plain / v);
    log_sums[row] = log_sum;
    losses[row] = weights[row] * loss;
}

// One block a row: dy·weight·(softmax(x) − q), where q is 1 − smoothing at the target and smoothing/v everywhere.
KERNEL backward(T *gradient, const T *logits, const float *log_sums, const u32 *targets, const float *weights,
                const float *dy, float smoothing, int v) {
    int row = blockIdx.x;
    const T *x = logits + size_t(row) * v;
    T *dx = gradient + size_t(row) * v;
    float scale = weights[row] * *dy, log_sum = log_sums[row], even = smoothing / v;
    int target = scale == 0.0f ? -1 : int(targets[row]);
    for (int i = threadIdx.x * V; i < v; i += blockDim.x * V) {
        Vector<T, V> values = {};
        if (weights[row] != 0.0f) {
            values = load<V>(x + i);
            for (int j = 0; j < V; j++) {
                float hit = i + j == target ? 1.0f - smoothing : 0.0f;
                put(&values.at[j], scale * (__expf(number(values.at[j]) - log_sum) - even - hit));
            }
        }
        store<V>(dx + i, values);
    }
}
