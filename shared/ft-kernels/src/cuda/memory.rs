//! The memory that kernels read and write.

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaStorage, DType, Device, Layout, Result, Shape, Storage, Tensor};

/// Some bytes at an address of the device.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cuda-host"), allow(dead_code, reason = "the emulation alone checks accesses"))]
pub(super) struct Region {
    pub address: u64,
    pub bytes: usize,
}

/// What a kernel is passed: numbers by value, memory by its address.
#[derive(Default)]
pub(super) struct Resolved {
    /// Each argument's bits and its bytes.
    pub words: Vec<(u64, usize)>,
    /// All memory that the kernel may touch.
    pub regions: Vec<Region>,
    /// Where that is; none without a tensor.
    pub device: Option<Device>,
}

impl Resolved {
    /// One more tensor's memory, as an argument.
    pub fn add(&mut self, region: Region) {
        self.words.push((region.address, 8));
        self.regions.push(region);
    }

    /// One more argument lies there: where the others do.
    ///
    /// # Errors
    /// If it does not.
    pub fn place(&mut self, device: &Device) -> Result<()> {
        match &self.device {
            Some(first) if !first.same_device(device) => {
                candle_core::bail!("arguments of one kernel on {:?} and {:?}", first.location(), device.location())
            }
            Some(_) => {}
            None => self.device = Some(device.clone()),
        }
        Ok(())
    }
}

/// Memory for a result, whose elements a kernel will write.
pub(crate) struct Output {
    storage: Storage,
    device: Device,
    shape: Shape,
}

impl Output {
    /// Room on a device. On the host its elements are not numbers until they are written, so that one that no kernel writes
    /// shows.
    ///
    /// # Safety
    /// A kernel writes every element before any is read.
    ///
    /// # Errors
    /// If the device has no room.
    pub unsafe fn new(device: &Device, dtype: DType, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        // SAFETY: the caller's promise.
        let storage = match device {
            Device::Cpu => Storage::Cpu(poisoned(dtype, shape.elem_count())?),
            // The driver has no memory of no bytes.
            Device::Cuda(device) => {
                let room = Shape::from(shape.elem_count().max(1));
                Storage::Cuda(unsafe { device.alloc_uninit(&room, dtype)? })
            }
            Device::Metal(_) => candle_core::bail!("kernels run on a GPU of CUDA or on the host"),
        };
        Ok(Self { storage, device: device.clone(), shape })
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn region(&mut self) -> Result<Region> {
        let layout = Layout::contiguous(self.shape.clone());
        match &mut self.storage {
            Storage::Cpu(storage) => of_cpu_mut(storage, &layout),
            other => of_storage(other, &layout),
        }
    }

    /// The result.
    pub fn into_tensor(self) -> Tensor {
        Tensor::from_storage(self.storage, self.shape, BackpropOp::none(), false)
    }
}

/// Elements that are not numbers.
fn poisoned(dtype: DType, len: usize) -> Result<CpuStorage> {
    Ok(match dtype {
        DType::F32 => CpuStorage::F32(vec![f32::NAN; len]),
        DType::BF16 => CpuStorage::BF16(vec![half::bf16::NAN; len]),
        DType::F16 => CpuStorage::F16(vec![half::f16::NAN; len]),
        DType::U32 => CpuStorage::U32(vec![u32::MAX; len]),
        DType::U8 => CpuStorage::U8(vec![u8::MAX; len]),
        other => candle_core::bail!("kernels write no {other:?}"),
    })
}

/// Numbers on a device, for a kernel: starts, targets, keys. Of none there is one, for the driver has no memory of no bytes.
pub(crate) fn words(values: &[u32], device: &Device) -> Result<Tensor> {
    let values = if values.is_empty() { &[0] } else { values };
    Tensor::from_slice(values, values.len(), device)
}

/// The tensor contiguous from a multiple of 16 bytes on, for kernels that take all elements as one row: itself where it is so.
pub(crate) fn aligned(tensor: &Tensor) -> Result<Tensor> {
    let offset = tensor.layout().start_offset() * tensor.dtype().size_in_bytes();
    if offset.is_multiple_of(16) { tensor.contiguous() } else { tensor.force_contiguous() }
}

/// Where a tensor lies.
pub(super) fn of_storage(storage: &Storage, layout: &Layout) -> Result<Region> {
    match storage {
        Storage::Cpu(storage) => of_cpu(storage, layout),
        Storage::Cuda(storage) => of_cuda(storage, layout),
        Storage::Metal(_) => candle_core::bail!("kernels run on a GPU of CUDA or on the host"),
    }
}

/// The elements that a contiguous layout covers.
fn range(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!("a kernel needs contiguous tensors, found strides {:?}", layout.stride()),
    }
}

pub(super) fn of_cpu(storage: &CpuStorage, layout: &Layout) -> Result<Region> {
    fn of<T>(values: &[T], range: std::ops::Range<usize>) -> Region {
        let part = &values[range];
        Region { address: part.as_ptr().expose_provenance() as u64, bytes: size_of_val(part) }
    }
    let range = range(layout)?;
    Ok(match storage {
        CpuStorage::F32(values) => of(values, range),
        CpuStorage::BF16(values) => of(values, range),
        CpuStorage::F16(values) => of(values, range),
        CpuStorage::U32(values) => of(values, range),
        CpuStorage::U8(values) => of(values, range),
        CpuStorage::I64(values) => of(values, range),
        other => candle_core::bail!("kernels take f32, bf16, f16, u32, u8 and i64, found {:?}", other.dtype()),
    })
}

/// [`of_cpu`] of what a kernel writes.
pub(super) fn of_cpu_mut(storage: &mut CpuStorage, layout: &Layout) -> Result<Region> {
    fn of<T>(values: &mut [T], range: std::ops::Range<usize>) -> Region {
        let part = &mut values[range];
        Region { bytes: size_of_val(part), address: part.as_mut_ptr().expose_provenance() as u64 }
    }
    let range = range(layout)?;
    Ok(match storage {
        CpuStorage::F32(values) => of(values, range),
        CpuStorage::BF16(values) => of(values, range),
        CpuStorage::F16(values) => of(values, range),
        CpuStorage::U32(values) => of(values, range),
        CpuStorage::U8(values) => of(values, range),
        other => candle_core::bail!("kernels change f32, bf16, f16, u32 and u8, found {:?}", other.dtype()),
    })
}

#[cfg(feature = "cuda")]
pub(super) fn of_cuda(storage: &CudaStorage, layout: &Layout) -> Result<Region> {
    use candle_core::cuda_backend::CudaStorageSlice;
    use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
    /// All work of a device is on one stream, in order, so nothing has to wait for anything.
    fn region<T>(slice: &CudaSlice<T>, range: std::ops::Range<usize>, stream: &CudaStream) -> Region {
        let (address, _guard) = slice.device_ptr(stream);
        Region { address: address + (range.start * size_of::<T>()) as u64, bytes: range.len() * size_of::<T>() }
    }
    let range = range(layout)?;
    let stream = storage.device.cuda_stream();
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => region(slice, range, &stream),
        CudaStorageSlice::BF16(slice) => region(slice, range, &stream),
        CudaStorageSlice::F16(slice) => region(slice, range, &stream),
        CudaStorageSlice::U32(slice) => region(slice, range, &stream),
        CudaStorageSlice::U8(slice) => region(slice, range, &stream),
        CudaStorageSlice::I64(slice) => region(slice, range, &stream),
        _ => candle_core::bail!("kernels take f32, bf16, f16, u32, u8 and i64"),
    })
}

#[cfg(not(feature = "cuda"))]
pub(super) fn of_cuda(_: &CudaStorage, _: &Layout) -> Result<Region> {
    candle_core::bail!("{}", crate::device::WITHOUT_CUDA)
}
