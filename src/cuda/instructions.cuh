// Instructions without a name in C++.

#define KERNEL extern "C" __global__ void
// A kernel with bounds of threads in a block and of blocks on a multiprocessor.
#define KERNEL_OF(threads, blocks) KERNEL __launch_bounds__(threads, blocks)
#define INFINITE __int_as_float(0x7f800000)

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The upper half of a float. NVRTC has no headers without the CUDA toolkit, so the type is defined here.
struct bf16 {
    u16 bits;
};

// Two floats rounded to bf16, the first in the low half.
__device__ inline u32 pack(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// c += a·b for a warp: a is 16×16 in rows, b 16×8 in columns, c 16×8, spread over the lanes as PTX specifies.
__device__ inline void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8×8 matrices of bf16 from shared memory; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void load_matrices(u32 (&to)[4], const bf16 *row) {
    u32 address = u32(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// The same, each matrix transposed.
__device__ inline void load_transposed(u32 (&to)[4], const bf16 *row) {
    u32 address = u32(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// Starts to copy 16 bytes into shared memory, until `wait_for_all_but_last`; zeros if not `exists`.
__device__ inline void copy_16(bf16 *to, const bf16 *from, bool exists) {
    u32 address = u32(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(exists ? 16 : 0)
                 : "memory");
}

// Ends a group of copies.
__device__ inline void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all groups but the last have arrived.
__device__ inline void wait_for_all_but_last() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

// 2ˣ; the smallest results are 0.
__device__ inline float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
