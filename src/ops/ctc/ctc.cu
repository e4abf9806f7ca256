// CTC's recursions (Graves et al. 2006), in double and log space as on the CPU. T: the type of logits [n, v].
//
// A document's states are its labels with a blank before, between and after them. A block goes through a document's frames
// one by one, its threads through the states in parallel: for each state and frame 16 bytes, two logits and some 200
// operations of double, twice. The time is spent waiting, because each frame needs the one before it.

#define NEVER (-double(INFINITE))  // log 0

struct Document {
    u32 first_frame, frames;
    u32 first_state, states;
    u32 first_alpha;              // offset in numbers by frame and state
    u32 first_symbol, symbols;    // distinct symbols
};

// One document and its inputs.
struct Alignment {
    Document document;
    const T *logits;
    const float *log_sums;
    const u32 *symbols;
    int v, blank;

    __device__ Alignment(const Document *documents, const T *logits, const float *log_sums, const u32 *symbols, int v,
                         int blank)
        : document(documents[blockIdx.x]), v(v), blank(blank) {
        this->logits = logits + size_t(document.first_frame) * v;
        this->log_sums = log_sums + document.first_frame;
        this->symbols = symbols + document.first_state;
    }

    __device__ double log_probability(int frame, int state) const {
        return double(number(logits[size_t(frame) * v + symbols[state]])) - log_sums[frame];
    }

    // Whether a state may follow the second state before it without the blank between: for unequal labels.
    __device__ bool skips(int state) const {
        return state >= 2 && symbols[state] != blank && symbols[state] != symbols[state - 2];
    }
};

__device__ inline double log_add(double a, double b, double c) {
    double greatest = fmax(a, fmax(b, c));
    if (greatest == NEVER) return NEVER;
    return greatest + log(exp(a - greatest) + exp(b - greatest) + exp(c - greatest));
}

// The log probability of all alignments, from the last frame's α.
__device__ inline double log_probability_of_all(const double *last, int states) {
    return log_add(last[states - 1], states > 1 ? last[states - 2] : NEVER, NEVER);
}

// log Σ eˣ of each row, a warp for each.
KERNEL log_sums(float *sums, const T *logits, int n, int v) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (row >= n) return;
    float highest = -INFINITE, sum = 0.0f;
    for (int i = threadIdx.x % 32; i < v; i += 32) highest = fmaxf(highest, number(logits[size_t(row) * v + i]));
    highest = max_over_warp(highest);
    for (int i = threadIdx.x % 32; i < v; i += 32) sum += __expf(number(logits[size_t(row) * v + i]) - highest);
    sum = sum_over_warp(sum);
    if (threadIdx.x % 32 == 0) sums[row] = highest + logf(sum);
}

// α, the log probability of all frames up to one and of a state at that frame; and each document's loss.
KERNEL forward(double *alphas, float *losses, const T *logits, const float *log_sums, const Document *documents,
               const u32 *symbols, const float *weights, int v, int blank) {
    Alignment a(documents, logits, log_sums, symbols, v, blank);
    int states = a.document.states, frames = a.document.frames;
    double *alpha = alphas + a.document.first_alpha;
    for (int frame = 0; frame < frames; frame++, alpha += states) {
        const double *before = alpha - states;
        for (int s = threadIdx.x; s < states; s += blockDim.x) {
            double arrives = s < 2 ? 0.0 : NEVER;
            if (frame > 0) {
                arrives = log_add(before[s], s > 0 ? before[s - 1] : NEVER, a.skips(s) ? before[s - 2] : NEVER);
            }
            alpha[s] = arrives + a.log_probability(frame, s);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) losses[blockIdx.x] = -weights[blockIdx.x] * log_probability_of_all(alpha - states, states);
}

// The posterior probability of each state at each frame. betas: two rows of states for each document.
KERNEL posteriors(float *posteriors, double *betas, const double *alphas, const T *logits, const float *log_sums,
                  const Document *documents, const u32 *symbols, int v, int blank) {
    Alignment a(documents, logits, log_sums, symbols, v, blank);
    int states = a.document.states, frames = a.document.frames;
    const double *alpha = alphas + a.document.first_alpha;
    double log_p = log_probability_of_all(alpha + size_t(frames - 1) * states, states);
    // β: the log probability of the frames after one, given the state at that frame; `onward` includes that frame.
    double *beta = betas + 2 * a.document.first_state, *onward = beta + states;
    for (int s = threadIdx.x; s < states; s += blockDim.x) beta[s] = s + 2 < states ? NEVER : 0.0;
    for (int frame = frames - 1; frame >= 0; frame--) {
        size_t at = size_t(frame) * states;
        for (int s = threadIdx.x; s < states; s += blockDim.x) {
            posteriors[a.document.first_alpha + at + s] = float(exp(alpha[at + s] + beta[s] - log_p));
            onward[s] = beta[s] + a.log_probability(frame, s);
        }
        __syncthreads();
        for (int s = threadIdx.x; s < states; s += blockDim.x) {
            double next = s + 1 < states ? onward[s + 1] : NEVER;
            beta[s] = log_add(onward[s], next, s + 2 < states && a.skips(s + 2) ? onward[s + 2] : NEVER);
        }
        __syncthreads();
    }
}

// dx = dy·weight·(softmax − the posterior of each symbol), a block for each frame. order: a document's states sorted by
// symbol; those of the k-th symbol are starts[k] .. starts[k + 1]. Frames outside documents have no gradient.
KERNEL backward(T *dx, const T *logits, const float *log_sums, const float *posteriors, const Document *documents,
                const u32 *document_of, const u32 *symbols, const u32 *order, const u32 *starts, const float *weights,
                const float *dy, int v) {
    size_t frame = blockIdx.x;
    bool none = document_of[frame] == ~0u;
    const Document document = documents[none ? 0 : document_of[frame]];
    float scale = none ? 0.0f : *dy * weights[document_of[frame]], log_sum = log_sums[frame];
    dx += frame * v;
    logits += frame * v;
    for (int i = threadIdx.x; i < v; i += blockDim.x) {
        put(dx + i, none ? 0.0f : scale * __expf(number(logits[i]) - log_sum));
    }
    if (none) return;
    __syncthreads();
    posteriors += document.first_alpha + (frame - document.first_frame) * document.states;
    symbols += document.first_state;
    order += document.first_state;
    starts += document.first_symbol;
    for (int k = threadIdx.x; k < document.symbols; k += blockDim.x) {
        float sum = 0.0f;
        for (u32 i = starts[k]; i < starts[k + 1]; i++) sum += posteriors[order[i]];
        u32 symbol = symbols[order[starts[k]]];
        put(dx + symbol, scale * (__expf(number(logits[symbol]) - log_sum) - sum));
    }
}
