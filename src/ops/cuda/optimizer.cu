// AdamW over all parameters at once, and the norm of their gradients.

// One parameter: addresses of what belongs to it, and how many elements each has. No average: null.
struct Tensors {
    float *parameter, *mean, *square, *average;
    const float *gradient;
    u64 n, decays;
};

// Block i takes chunk i: elements chunk·CHUNK .. of the tensors at chunks[2·i], chunk being chunks[2·i + 1].
constexpr u64 CHUNK = 65536;

// Σ g² of a chunk.
KERNEL squares(float *sums, const Tensors *all, const u32 *chunks) {
    Tensors t = all[chunks[2 * blockIdx.x]];
    u64 start = chunks[2 * blockIdx.x + 1] * CHUNK, end = min(start + CHUNK, t.n);
    float sum = 0.0f;
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) sum += t.gradient[i] * t.gradient[i];
    sum = sum_over_block(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block of 1,024 threads: the root of the sum over all chunks, in one order.
KERNEL length(float *norm, const float *sums, int n) {
    __shared__ double parts[1024];
    double mine = 0.0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) mine += sums[i];
    parts[threadIdx.x] = mine;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *norm = float(sqrt(parts[0]));
}

struct Factors {
    float beta1, beta2, rest1, rest2;  // rest: 1 − β
    float keep, rate, by_root_correction, eps;
    float clip, average_decay;
};

// Gradients are clipped to the norm `clip` (0: not); where the norm is not finite, nothing changes.
KERNEL adamw(const Tensors *all, const u32 *chunks, const float *norm, const Factors *factors) {
    Tensors t = all[chunks[2 * blockIdx.x]];
    Factors f = *factors;
    float all_of_it = *norm;
    if (!(all_of_it < INFINITE)) return;
    float scale = f.clip > 0.0f && all_of_it > f.clip ? f.clip / all_of_it : 1.0f, keep = t.decays ? f.keep : 1.0f;
    u64 start = chunks[2 * blockIdx.x + 1] * CHUNK, end = min(start + CHUNK, t.n);
    for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) {
        float g = t.gradient[i] * scale;
        float m = t.mean[i] = f.beta1 * t.mean[i] + f.rest1 * g;
        float v = t.square[i] = f.beta2 * t.square[i] + f.rest2 * g * g;
        float p = t.parameter[i] = keep * t.parameter[i] - f.rate * m / (sqrtf(v) * f.by_root_correction + f.eps);
        if (t.average) t.average[i] = f.average_decay * t.average[i] + (1.0f - f.average_decay) * p;
    }
}
