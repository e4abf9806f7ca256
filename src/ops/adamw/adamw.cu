// AdamW over all parameters at once, and the norm of their gradients.

// One parameter: the addresses of its tensors, and their number of elements. `average` is null for no average.
struct Tensors {
    float *parameter, *mean, *square, *average;
    const float *gradient;
    u64 n, decays;
};

// Block i takes the elements from chunks[2·i + 1]·CHUNK on of the tensors of parameter chunks[2·i].
constexpr u64 CHUNK = 65536;

// Whether all of a parameter's tensors can be moved four elements at a time.
__device__ inline bool in_fours(const Tensors &t) {
    u64 all = u64(t.parameter) | u64(t.mean) | u64(t.square) | u64(t.average) | u64(t.gradient);
    return all % 16 == 0 && t.n % 4 == 0;
}

// Σ g² of a chunk, over N elements at a time.
template <int N>
__device__ inline float sum_of_squares(const float *gradient, u64 start, u64 end) {
    float sum = 0.0f;
    #pragma unroll 4
    for (u64 i = start + threadIdx.x * N; i < end; i += blockDim.x * N) {
        auto g = load<N>(gradient + i);
        for (int j = 0; j < N; j++) sum += g.at[j] * g.at[j];
    }
    return sum;
}

KERNEL squares(float *sums, const Tensors *all, const u32 *chunks) {
    Tensors t = all[chunks[2 * blockIdx.x]];
    u64 start = chunks[2 * blockIdx.x + 1] * CHUNK, end = min(start + CHUNK, t.n);
    float sum = in_fours(t) ? sum_of_squares<4>(t.gradient, start, end) : sum_of_squares<1>(t.gradient, start, end);
    sum = sum_over_block(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block of 1,024 threads: the root of the sum over all chunks, in a fixed order.
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
    float decay_factor, rate, by_root_correction, eps;
    float clip, average_decay;
};

template <int N>
__device__ inline void update(const Tensors &t, const Factors &f, float scale, u64 start, u64 end) {
    float decay_factor = t.decays ? f.decay_factor : 1.0f;
    #pragma unroll 2
    for (u64 i = start + threadIdx.x * N; i < end; i += blockDim.x * N) {
        auto g = load<N>(t.gradient + i), m = load<N>(t.mean + i), v = load<N>(t.square + i), p = load<N>(t.parameter + i);
        for (int j = 0; j < N; j++) {
            float gradient = g.at[j] * scale;
            m.at[j] = f.beta1 * m.at[j] + f.rest1 * gradient;
            v.at[j] = f.beta2 * v.at[j] + f.rest2 * gradient * gradient;
            p.at[j] = decay_factor * p.at[j] - f.rate * m.at[j] / (sqrtf(v.at[j]) * f.by_root_correction + f.eps);
        }
        store<N>(t.mean + i, m);
        store<N>(t.square + i, v);
        store<N>(t.parameter + i, p);
        if (t.average) {
            auto average = load<N>(t.average + i);
            for (int j = 0; j < N; j++)
                average.at[j] = f.average_decay * average.at[j] + (1.0f - f.average_decay) * p.at[j];
            store<N>(t.average + i, average);
        }
    }
}

// Clips gradients to the norm `clip` (0 for no clipping). If the norm is not finite, nothing changes. 28 bytes an element.
KERNEL adamw(const Tensors *all, const u32 *chunks, const float *norm_of_all, const Factors *factors) {
    Tensors t = all[chunks[2 * blockIdx.x]];
    Factors f = *factors;
    float norm = *norm_of_all;
    if (!(norm < INFINITE)) return;
    float scale = f.clip > 0.0f && norm > f.clip ? f.clip / norm : 1.0f;
    u64 start = chunks[2 * blockIdx.x + 1] * CHUNK, end = min(start + CHUNK, t.n);
    if (in_fours(t))
        update<4>(t, f, scale, start, end);
    else
        update<1>(t, f, scale, start, end);
}
