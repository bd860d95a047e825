//! One call of a kernel.

use std::cell::Cell;

use candle_core::{CpuStorage, CudaStorage, DType, Device, InplaceOp1, Layout, Result, Tensor};

use super::memory::{Output, Region, Resolved, of_cpu_mut, of_cuda, of_storage};

/// The blocks of a launch and the threads of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub blocks: [usize; 3],
    pub threads: usize,
    /// Bytes of dynamic shared memory.
    pub shared: usize,
}

impl Grid {
    /// `blocks` along x, without dynamic shared memory.
    pub fn line(blocks: usize, threads: usize) -> Self {
        Self::plane(blocks, 1, threads)
    }

    /// `x` by `y` blocks.
    pub fn plane(x: usize, y: usize, threads: usize) -> Self {
        Self { blocks: [x, y, 1], threads, shared: 0 }
    }
}

/// Parts of `part` that `len` elements make.
pub(crate) fn parts(len: usize, part: usize) -> usize {
    len.div_ceil(part)
}

/// The threads of a block that walks along a row (`along_row` in `kernels/rows.cuh`): whole warps, at most `most`. The row's
/// length and type alone decide, for the order of a row's sum goes by it.
pub(crate) fn block_of(columns: usize, dtype: DType, most: usize) -> usize {
    let wide = 16 / dtype.size_in_bytes();
    let steps = if columns.is_multiple_of(wide) { columns / wide } else { columns };
    steps.next_multiple_of(32).clamp(32, most)
}

/// One argument of a kernel.
enum Argument<'a> {
    Read(&'a Tensor),
    Change(&'a Tensor),
    Write(&'a mut Output),
    List(&'a [Tensor]),
    Word(u64, usize),
}

/// A kernel and its arguments, in their order.
pub(crate) struct Launch<'a> {
    module: &'static str,
    name: String,
    dtype: DType,
    arguments: Vec<Argument<'a>>,
    /// What is wrong with an argument, if anything is.
    wrong: Option<String>,
}

impl<'a> Launch<'a> {
    /// The kernel `ft_{name}_{type}` of `kernels/{module}.cu`; its rows are of this type.
    pub fn new(module: &'static str, name: &str, dtype: DType) -> Self {
        let suffix = match dtype {
            DType::F32 => "f32",
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            _ => "",
        };
        let wrong = suffix.is_empty().then(|| format!("rows are f32, bf16 or f16, found {dtype:?}"));
        Self { module, name: format!("ft_{name}_{suffix}"), dtype, arguments: Vec::new(), wrong }
    }

    /// A kernel of the emulation's own tests.
    #[cfg(feature = "cuda-host")]
    pub fn named(kernel: &str) -> Self {
        Self { name: kernel.into(), ..Self::new("wrong", "", DType::F32) }
    }

    /// A tensor of the rows' type that the kernel reads.
    pub fn read(self, tensor: &'a Tensor) -> Self {
        let dtype = self.dtype;
        self.read_as(tensor, dtype)
    }

    /// A tensor of a type of its own that the kernel reads.
    pub fn read_as(mut self, tensor: &'a Tensor, dtype: DType) -> Self {
        self.check(tensor, dtype);
        self.arguments.push(Argument::Read(tensor));
        self
    }

    /// A tensor of the rows' type, or null.
    pub fn read_any(self, tensor: Option<&'a Tensor>) -> Self {
        let dtype = self.dtype;
        self.read_any_as(tensor, dtype)
    }

    /// As [`Self::read_any`], of a type of its own.
    pub fn read_any_as(self, tensor: Option<&'a Tensor>, dtype: DType) -> Self {
        if let Some(tensor) = tensor { self.read_as(tensor, dtype) } else { self.u64(0) }
    }

    /// A tensor of the rows' type that the kernel changes. Every handle on it sees that, and it may not be an argument twice.
    pub fn change(self, tensor: &'a Tensor) -> Self {
        let dtype = self.dtype;
        self.change_as(tensor, dtype)
    }

    /// A tensor of a type of its own that the kernel changes.
    pub fn change_as(mut self, tensor: &'a Tensor, dtype: DType) -> Self {
        self.check(tensor, dtype);
        self.arguments.push(Argument::Change(tensor));
        self
    }

    /// Memory that the kernel writes.
    pub fn write(mut self, output: &'a mut Output) -> Self {
        self.arguments.push(Argument::Write(output));
        self
    }

    /// The addresses of tensors of the rows' type that the kernel reads.
    pub fn list(mut self, tensors: &'a [Tensor]) -> Self {
        let dtype = self.dtype;
        tensors.iter().for_each(|tensor| self.check(tensor, dtype));
        self.arguments.push(Argument::List(tensors));
        self
    }

    /// An `int`.
    pub fn int(mut self, value: usize) -> Self {
        match i32::try_from(value) {
            Ok(value) => self.arguments.push(Argument::Word(u64::from(value.cast_unsigned()), 4)),
            Err(_) => self.wrong = Some(format!("{value} is more than kernels count")),
        }
        self
    }

    /// A `uint32_t`.
    pub fn u32(mut self, value: u32) -> Self {
        self.arguments.push(Argument::Word(u64::from(value), 4));
        self
    }

    /// A `uint64_t`.
    pub fn u64(mut self, value: usize) -> Self {
        self.arguments.push(Argument::Word(value as u64, 8));
        self
    }

    /// A `float`.
    pub fn f32(mut self, value: f32) -> Self {
        self.arguments.push(Argument::Word(u64::from(value.to_bits()), 4));
        self
    }

    fn check(&mut self, tensor: &Tensor, dtype: DType) {
        let at = self.arguments.len();
        if !tensor.is_contiguous() {
            self.wrong = Some(format!("argument {at} is not contiguous, its strides are {:?}", tensor.stride()));
        } else if tensor.dtype() != dtype {
            self.wrong = Some(format!("argument {at} is {:?}, expected {dtype:?}", tensor.dtype()));
        }
    }

    /// Runs it; nothing where a grid has no block.
    ///
    /// # Safety
    /// The arguments are the kernel's, and with this grid it stays within the tensors. (The emulation checks both, and every
    /// operator's tests run there.)
    ///
    /// # Errors
    /// If an argument is not as the kernel needs it, the build has nothing to run it, or the driver or the emulation says so.
    pub unsafe fn run(mut self, grid: Grid) -> Result<()> {
        let name = &self.name;
        if let Some(wrong) = self.wrong {
            candle_core::bail!("kernel {name}: {wrong}");
        }
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        let mut shape = [0; 5];
        for (to, from) in shape.iter_mut().zip(grid.blocks.into_iter().chain([grid.threads, grid.shared])) {
            *to = u32::try_from(from)?;
        }
        let launch = |resolved: &Resolved| match &resolved.device {
            // SAFETY: the caller's promise.
            #[cfg(feature = "cuda")]
            Some(Device::Cuda(device)) => unsafe { super::gpu::run(device, self.module, name, shape, resolved) },
            // SAFETY: the caller's promise; the emulation checks it again.
            #[cfg(feature = "cuda-host")]
            Some(Device::Cpu) => unsafe { super::host::run(name, shape, resolved) },
            other => candle_core::bail!(
                "kernel {name} of {}: this build has nothing to run it on {:?}",
                self.module,
                other.as_ref().map(Device::location)
            ),
        };
        resolve(&mut self.arguments, &mut Resolved::default(), &launch)
    }
}

/// Finds where the arguments lie, one after the other, each kept from others' writing until the launch has been made.
fn resolve(
    arguments: &mut [Argument<'_>],
    found: &mut Resolved,
    launch: &dyn Fn(&Resolved) -> Result<()>,
) -> Result<()> {
    let Some((first, rest)) = arguments.split_first_mut() else { return launch(found) };
    match first {
        Argument::Word(value, bytes) => {
            found.words.push((*value, *bytes));
            resolve(rest, found, launch)
        }
        Argument::Read(tensor) => {
            found.place(tensor.device())?;
            let (storage, layout) = tensor.storage_and_layout();
            found.add(of_storage(&storage, layout)?);
            resolve(rest, found, launch)
        }
        Argument::List(tensors) => {
            let Some(first) = tensors.first() else { candle_core::bail!("a kernel was given a list of nothing") };
            let mut addresses = Vec::with_capacity(tensors.len());
            let guards: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
            for (tensor, (storage, layout)) in tensors.iter().zip(&guards) {
                found.place(tensor.device())?;
                let region = of_storage(storage, layout)?;
                addresses.push(region.address.cast_signed());
                found.regions.push(region);
            }
            let table = Tensor::from_vec(addresses, tensors.len(), first.device())?;
            let (storage, layout) = table.storage_and_layout();
            found.add(of_storage(&storage, layout)?);
            resolve(rest, found, launch)
        }
        Argument::Write(output) => {
            found.place(output.device())?;
            found.add(output.region()?);
            resolve(rest, found, launch)
        }
        Argument::Change(tensor) => {
            found.place(tensor.device())?;
            let work = |region| {
                found.add(region);
                resolve(rest, found, launch)
            };
            let operation = InPlace { work: Cell::new(Some(work)) };
            tensor.inplace_op1(&operation)
        }
    }
}

/// candle's door to a tensor's memory for writing.
struct InPlace<F> {
    work: Cell<Option<F>>,
}

impl<F: FnOnce(Region) -> Result<()>> InPlace<F> {
    fn go(&self, region: Region) -> Result<()> {
        self.work.take().map_or(Ok(()), |work| work(region))
    }
}

impl<F: FnOnce(Region) -> Result<()>> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.go(of_cpu_mut(storage, layout)?)
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        self.go(of_cuda(storage, layout)?)
    }
}
