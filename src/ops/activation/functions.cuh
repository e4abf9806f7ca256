// Nonlinearities and their slopes. F names one.

struct Slope {
    float value, slope;
};

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

__device__ inline Slope gelu(float x) {
    float below = 0.5f * (1.0f + erff(x * 0.70710678f));
    return {x * below, below + x * 0.39894228f * __expf(-0.5f * x * x)};
}

__device__ inline Slope gelu_tanh(float x) {
    const float TWICE = 1.5957691f, CUBIC = 0.044715f;  // 2·√(2/π); (1 + tanh u)/2 = σ(2u)
    float s = sigmoid(TWICE * (x + CUBIC * x * x * x));
    return {x * s, s + x * TWICE * (1.0f + 3.0f * CUBIC * x * x) * s * (1.0f - s)};
}

__device__ inline Slope relu(float x) { return {x < 0.0f ? 0.0f : x, x > 0.0f ? 1.0f : 0.0f}; }

__device__ inline Slope silu(float x) {
    float s = sigmoid(x);
    return {x * s, s + x * s * (1.0f - s)};
}

__device__ inline Slope quick_gelu(float x) {
    const float STEEPNESS = 1.702f;
    float s = sigmoid(STEEPNESS * x);
    return {x * s, s + STEEPNESS * x * s * (1.0f - s)};
}

__device__ inline Slope hyperbolic_tangent(float x) {
    float y = tanhf(x);
    return {y, 1.0f - y * y};
}

