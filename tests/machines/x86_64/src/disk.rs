//! A virtio block device, used as flash: erasing writes ones. Every write is flushed before it counts as done.

use core::alloc::Layout;
use core::ptr::NonNull;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write};
use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport as _};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

extern crate alloc;

/// Where the microvm machine has its virtio devices, with or without the second interrupt controller.
const TRANSPORTS: core::ops::Range<usize> = 0xFEB0_0000..0xFEB0_3000;
const TRANSPORT_BYTES: usize = 512;

pub struct Disk(VirtIOBlk<Flat, MmioTransport<'static>>);

impl Disk {
    /// The first block device.
    pub fn find() -> Option<Self> {
        let transports = TRANSPORTS.step_by(TRANSPORT_BYTES).filter_map(|at| {
            let header = NonNull::new(core::ptr::with_exposed_provenance_mut::<VirtIOHeader>(at))?;
            // SAFETY: the machine has a transport, or nothing, at each of these places, and nobody else uses it.
            unsafe { MmioTransport::new(header, TRANSPORT_BYTES) }.ok()
        });
        let mut disks = transports.filter(|transport| transport.device_type() == DeviceType::Block);
        VirtIOBlk::new(disks.next()?).ok().map(Self)
    }

    fn write_sectors(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.0.write_blocks(offset as usize / SECTOR_SIZE, bytes).map_err(|_| NorFlashErrorKind::Other)
    }

    fn flush(&mut self) -> Result<(), NorFlashErrorKind> {
        self.0.flush().map_err(|_| NorFlashErrorKind::Other)
    }
}

impl ErrorType for Disk {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Disk {
    const READ_SIZE: usize = SECTOR_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        self.0.read_blocks(offset as usize / SECTOR_SIZE, bytes).map_err(|_| NorFlashErrorKind::Other)
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.0.capacity()).unwrap_or(0).saturating_mul(SECTOR_SIZE)
    }
}

impl NorFlash for Disk {
    const WRITE_SIZE: usize = SECTOR_SIZE;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for block in (from..to).step_by(Self::ERASE_SIZE) {
            self.write_sectors(block, &[0xFF; Self::ERASE_SIZE])?;
        }
        self.flush()
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.write_sectors(offset, bytes)?;
        self.flush()
    }
}

/// Memory as the device sees it: the same addresses.
struct Flat;

// SAFETY: physical and virtual addresses are the same, there is no IOMMU, and the pages come from the heap, aligned and zeroed.
unsafe impl Hal for Flat {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let block = layout(pages).and_then(|layout| {
            // SAFETY: a device asks for at least one page.
            NonNull::new(unsafe { alloc::alloc::alloc_zeroed(layout) })
        });
        // An address of 0 says that there is no memory.
        block.map_or((0, NonNull::dangling()), |block| (block.as_ptr() as PhysAddr, block))
    }

    unsafe fn dma_dealloc(_: PhysAddr, block: NonNull<u8>, pages: usize) -> i32 {
        if let Some(layout) = layout(pages) {
            // SAFETY: the caller's promise: it is from `dma_alloc`.
            unsafe { alloc::alloc::dealloc(block.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize)).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

fn layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok()
}
