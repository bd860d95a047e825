// The host's place of a GPU: runs a kernel's blocks one after the other, the threads of each as fibers.
//
// What it finds, each as an error that names kernel, block and thread:
//   * an access of global memory outside the buffers that the launch was given, or not aligned for its type;
//   * shared memory written behind an array's end; it is filled with NaN before a block starts;
//   * threads that wait at different places for ever, lanes of a warp that meet at different instructions;
//   * an asynchronous copy that nobody waits for: it is done at the wait, or, as the seed has it, at once, so that a
//     buffer that is refilled too early is found too.
// Fibers run in an order that the seed shuffles at every turn, and so do blocks: what depends on the order has other
// bits under another seed, and what is read before it is written is NaN under some.
#include "../device.cuh"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <vector>

#include "fiber.h"
#include "instructions.h"

__thread Dim3 threadIdx, blockIdx, blockDim, gridDim;

// Every file that has kernels; build.rs writes it.
extern "C" const int *const ft_modules[];

namespace ft_host {

namespace {

constexpr size_t STACK = 128 << 10;
constexpr uint32_t MOST_THREADS = 1024;
// What a block of compute capability 9.0 may have.
constexpr uint32_t MOST_SHARED = 227 << 10;
constexpr size_t GUARD = 64;
constexpr unsigned char POISON = 0xff, CANARY = 0xa5;

enum class State { Ready, AtBarrier, AtMeeting, Done };

struct Copy {
    void *to;
    const void *from;
    bool there;
};

struct Fiber {
    void *stack_pointer = nullptr;
    unsigned char *stack = nullptr;
    Dim3 thread{};
    State state = State::Done;
    // Asynchronous copies that are not done, oldest first, and how many of them each closed group has.
    std::vector<Copy> copies;
    std::vector<size_t> groups;
};

struct Warp {
    Lane *lanes[32];
    Meeting kind;
    int arrived = 0;
};

struct Site {
    const void *key;
    size_t offset;
};

struct Buffer {
    uintptr_t first;
    uintptr_t last;
};

// One launch on one thread of the machine.
struct Machine {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<uint32_t> ready;
    std::vector<Site> sites;
    std::vector<Buffer> buffers;
    std::unique_ptr<unsigned char[]> shared_owner;
    unsigned char *shared = nullptr;
    size_t shared_used = 0;
    std::vector<size_t> guards;
    uint32_t dynamic_bytes = 0;
    uint32_t threads = 0;
    uint32_t running = 0;
    uint32_t at_barrier = 0;
    uint32_t done = 0;
    void *scheduler = nullptr;
    const Kernel *kernel = nullptr;
    void *const *arguments = nullptr;
    uint64_t random = 0;
    bool eager = false;
    char error[512] = {};
    uint64_t conflicts = 0;
};

thread_local Machine machine;
Kernel *first_kernel = nullptr;

uint64_t draw() {
    // xorshift64*, never 0
    uint64_t &x = machine.random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * 0x2545F4914F6CDD1Dull;
}

Fiber &self() { return machine.fibers[machine.running]; }

void leave(State state) {
    Fiber &fiber = self();
    fiber.state = state;
    ft_fiber_switch(&fiber.stack_pointer, machine.scheduler);
}

void wake(uint32_t number) {
    machine.fibers[number].state = State::Ready;
    machine.ready.push_back(number);
}

void fiber_main() {
    machine.kernel->call(machine.arguments);
    machine.done += 1;
    leave(State::Done);
    abort();
}

// A stack with a page below it that may not be touched.
unsigned char *new_stack() {
    void *memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, 4096, PROT_NONE) != 0) {
        return nullptr;
    }
    return static_cast<unsigned char *>(memory);
}

void prepare_shared() {
    Machine &m = machine;
    if (!m.shared_owner) {
        m.shared_owner.reset(new unsigned char[MOST_SHARED * 2 + 1024]);
        m.shared = m.shared_owner.get();
        m.shared += 1024 - reinterpret_cast<uintptr_t>(m.shared) % 1024;
    }
    memset(m.shared, POISON, m.shared_used + m.dynamic_bytes + GUARD);
    m.sites.clear();
    m.guards.clear();
    m.shared_used = m.dynamic_bytes;
    memset(m.shared + m.shared_used, CANARY, GUARD);
    m.guards.push_back(m.shared_used);
    m.shared_used += GUARD;
}

// Keeps the first fault that was found.
void note(const char *what) {
    Machine &m = machine;
    if (m.error[0] == 0) {
        snprintf(m.error, sizeof m.error, "block (%u, %u, %u), thread (%u, %u, %u): %s", blockIdx.x, blockIdx.y,
                 blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, what);
    }
}

void check_guards() {
    for (const size_t guard : machine.guards) {
        for (size_t i = 0; i < GUARD; ++i) {
            if (machine.shared[guard + i] != CANARY) {
                note("shared memory was written behind an array's end");
            }
        }
    }
}

// All that are not done wait at a barrier: they go on. Otherwise nobody ever will.
void release_barrier() {
    Machine &m = machine;
    const bool all = m.at_barrier == m.threads - m.done;
    m.at_barrier = 0;
    for (uint32_t i = 0; i < m.threads; ++i) {
        if (all && m.fibers[i].state == State::AtBarrier) {
            wake(i);
        } else if (!all && m.fibers[i].state == State::AtMeeting) {
            threadIdx = m.fibers[i].thread;
            note("waits for ever at an instruction of its warp, for other lanes are elsewhere");
        }
    }
}

void run_block() {
    Machine &m = machine;
    m.ready.clear();
    m.at_barrier = m.done = 0;
    for (uint32_t i = 0; i < m.threads; ++i) {
        Fiber &fiber = m.fibers[i];
        fiber.copies.clear();
        fiber.groups.clear();
        fiber.thread = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        fiber.stack_pointer = ft_fiber_prepare(fiber.stack, STACK, fiber_main);
        wake(i);
    }
    for (Warp &warp : m.warps) {
        warp.arrived = 0;
    }
    while (m.error[0] == 0) {
        if (m.ready.empty()) {
            if (m.done == m.threads) {
                check_guards();
                return;
            }
            release_barrier();
            continue;
        }
        const size_t pick = draw() % m.ready.size();
        m.running = m.ready[pick];
        m.ready[pick] = m.ready.back();
        m.ready.pop_back();
        threadIdx = self().thread;
        ft_fiber_switch(&m.scheduler, self().stack_pointer);
    }
}

void perform(const Copy &copy) {
    if (copy.there) {
        memcpy(copy.to, copy.from, 16);
    } else {
        memset(copy.to, 0, 16);
    }
}

} // namespace

void add_kernel(Kernel *kernel) {
    kernel->next = first_kernel;
    first_kernel = kernel;
}

void fail(const char *what) {
    note(what);
    // Nobody comes back to this fiber: the launch is over.
    leave(State::Done);
    abort();
}

void barrier() {
    machine.at_barrier += 1;
    leave(State::AtBarrier);
}

void meet(Meeting kind, Lane &lane) {
    Machine &m = machine;
    Warp &warp = m.warps[m.running / 32];
    if (warp.arrived == 0) {
        warp.kind = kind;
    } else if (warp.kind != kind) {
        fail("lanes of a warp meet at different instructions");
    }
    warp.lanes[m.running % 32] = &lane;
    warp.arrived += 1;
    if (warp.arrived < 32) {
        leave(State::AtMeeting);
        return;
    }
    warp.arrived = 0;
    const char *error = instruction(kind, warp.lanes, m.shared, m.shared_used, &m.conflicts);
    if (error != nullptr) {
        fail(error);
    }
    const uint32_t first = m.running / 32 * 32;
    for (uint32_t i = first; i < first + 32; ++i) {
        if (i != m.running) {
            wake(i);
        }
    }
}

unsigned char *dynamic_shared() { return machine.shared; }

void *static_shared(const void *site, size_t bytes, size_t alignment) {
    Machine &m = machine;
    for (const Site &known : m.sites) {
        if (known.key == site) {
            return m.shared + known.offset;
        }
    }
    const size_t step = alignment < 16 ? 16 : alignment;
    const size_t offset = (m.shared_used + step - 1) / step * step;
    if (offset + bytes + GUARD > MOST_SHARED * 2) {
        fail("more shared memory than a block may have");
    }
    memset(m.shared + offset, POISON, bytes);
    memset(m.shared + offset + bytes, CANARY, GUARD);
    m.guards.push_back(offset + bytes);
    m.shared_used = offset + bytes + GUARD;
    m.sites.push_back({site, offset});
    return m.shared + offset;
}

void check_access(const void *address, size_t bytes, size_t alignment, bool written) {
    const auto first = reinterpret_cast<uintptr_t>(address);
    if (first % alignment != 0) {
        fail("an access of global memory that is not aligned");
    }
    for (const Buffer &buffer : machine.buffers) {
        if (first >= buffer.first && first + bytes <= buffer.last) {
            return;
        }
    }
    char text[128];
    snprintf(text, sizeof text, "%zu bytes %s outside the buffers of the launch", bytes, written ? "written" : "read");
    fail(text);
}

void copy_later(void *to, const void *from, bool there) {
    Machine &m = machine;
    const auto target = reinterpret_cast<uintptr_t>(to), shared = reinterpret_cast<uintptr_t>(m.shared);
    if (target % 16 != 0 || target < shared || target + 16 > shared + m.shared_used) {
        fail("an asynchronous copy to what is no 16 aligned bytes of shared memory");
    }
    if (there) {
        check_access(from, 16, 16, false);
    }
    const Copy copy{to, from, there};
    if (m.eager) {
        perform(copy);
    }
    self().copies.push_back(copy);
}

void copy_commit() {
    Fiber &fiber = self();
    size_t before = 0;
    for (const size_t group : fiber.groups) {
        before += group;
    }
    fiber.groups.push_back(fiber.copies.size() - before);
}

void copy_wait(int left) {
    Fiber &fiber = self();
    while (fiber.groups.size() > static_cast<size_t>(left)) {
        const auto end = fiber.copies.begin() + static_cast<ptrdiff_t>(fiber.groups.front());
        for (auto copy = fiber.copies.begin(); copy != end && !machine.eager; ++copy) {
            perform(*copy);
        }
        fiber.copies.erase(fiber.copies.begin(), end);
        fiber.groups.erase(fiber.groups.begin());
    }
}

} // namespace ft_host

using namespace ft_host;

extern "C" {

struct FtBuffer {
    const void *first;
    size_t bytes;
};

// Runs a kernel. `sizes` are the bytes of each argument, `buffers` all the global memory that it may touch. Returns
// null, or what went wrong, until the thread's next launch. Where `conflicts` is not null, it gets the number of times
// that rows of an ldmatrix had to wait for a bank of shared memory.
const char *ft_host_launch(const char *name, const uint32_t *grid, const uint32_t *block, uint32_t shared,
                           void *const *arguments, const size_t *sizes, size_t count, const FtBuffer *buffers,
                           size_t buffer_count, uint64_t seed, uint64_t *conflicts) {
    Machine &m = machine;
    m.error[0] = 0;
    const auto refuse = [&](const char *what) {
        snprintf(m.error, sizeof m.error, "%s", what);
        return m.error;
    };
    if (ft_modules[0] == nullptr) {
        return refuse("no kernels were built");
    }
    m.kernel = first_kernel;
    while (m.kernel != nullptr && strcmp(m.kernel->name, name) != 0) {
        m.kernel = m.kernel->next;
    }
    if (m.kernel == nullptr) {
        return refuse("there is no such kernel");
    }
    if (count != m.kernel->count || memcmp(sizes, m.kernel->sizes, count * sizeof *sizes) != 0) {
        return refuse("the arguments' number or sizes are not the kernel's");
    }
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    m.threads = block[0] * block[1] * block[2];
    const uint64_t blocks = static_cast<uint64_t>(grid[0]) * grid[1] * grid[2];
    if (m.threads == 0 || m.threads > MOST_THREADS || blocks == 0 || grid[1] > 65535 || grid[2] > 65535) {
        return refuse("a grid or block that no GPU takes");
    }
    if (shared > MOST_SHARED) {
        return refuse("more shared memory than a block may have");
    }
    m.dynamic_bytes = (shared + 15) / 16 * 16;
    m.arguments = arguments;
    m.random = seed * 0x9E3779B97F4A7C15ull + 0x1234567ull;
    m.random += m.random == 0;
    m.eager = draw() % 2 == 1;
    m.conflicts = 0;
    m.buffers.clear();
    for (size_t i = 0; i < buffer_count; ++i) {
        const auto first = reinterpret_cast<uintptr_t>(buffers[i].first);
        m.buffers.push_back({first, first + buffers[i].bytes});
    }
    while (m.fibers.size() < m.threads) {
        Fiber fiber;
        fiber.stack = new_stack();
        if (fiber.stack == nullptr) {
            return refuse("no memory for the threads' stacks");
        }
        m.fibers.push_back(std::move(fiber));
    }
    m.warps.resize((m.threads + 31) / 32);
    // Blocks in an order of their own: from a random one on, by a step that is coprime to their number.
    const uint64_t start = draw() % blocks;
    uint64_t step = draw() % blocks | 1;
    const auto divisor = [](uint64_t a, uint64_t b) {
        while (b != 0) {
            const uint64_t rest = a % b;
            a = b;
            b = rest;
        }
        return a;
    };
    while (divisor(step, blocks) != 1) {
        step += 1;
    }
    uint64_t number = start;
    for (uint64_t i = 0; i < blocks && m.error[0] == 0; ++i) {
        blockIdx.x = static_cast<uint32_t>(number % grid[0]);
        blockIdx.y = static_cast<uint32_t>(number / grid[0] % grid[1]);
        blockIdx.z = static_cast<uint32_t>(number / grid[0] / grid[1]);
        number = (number + step) % blocks;
        prepare_shared();
        run_block();
    }
    if (conflicts != nullptr) {
        *conflicts = m.conflicts;
    }
    return m.error[0] == 0 ? nullptr : m.error;
}
}
