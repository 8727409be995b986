#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
pub struct Ref { pub index: u32, pub generation: u32 }
impl Ref { pub const NULL: Ref = Ref { index: 0, generation: 0 }; pub fn is_null(self) -> bool { self.index == 0 }
    pub fn to_bits(self) -> u64 { unimplemented!() } pub fn from_bits(bits: u64) -> Ref { unimplemented!() } }
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(u16);
impl Tag { pub fn register(name: &str) -> Tag { unimplemented!() } pub fn name(self) -> &'static str { unimplemented!() } }
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("out of shared memory")]
pub struct OutOfMemory { pub tag: Tag, pub size: usize }
/// An owned block nobody else can reach yet; freed when dropped.
#[derive(Debug)]
pub struct Blob;
impl Blob {
    pub fn from_bytes(bytes: &[u8], tag: Tag) -> Result<Blob, OutOfMemory> { unimplemented!() }
    pub fn from_parts(parts: &[&[u8]], tag: Tag) -> Result<Blob, OutOfMemory> { unimplemented!() }
    pub fn as_bytes(&self) -> &[u8] { unimplemented!() }
    pub fn bytes_mut(&mut self) -> &mut [u8] { unimplemented!() }
    pub fn len(&self) -> usize { unimplemented!() }
    /// Makes the block LIVE and hands its name out; the caller must see that somebody adopts it.
    pub fn into_ref(self) -> Ref { unimplemented!() }
    /// Takes a LIVE block back (exactly one taker wins).
    pub fn adopt(r: Ref) -> Option<Blob> { unimplemented!() }
}
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats { pub total: usize, pub free: usize, pub used: usize, pub real_used: usize, pub max_used: usize, pub fragments: usize }
#[derive(Debug, Clone)]
pub struct Usage { pub name: String, pub bytes: usize, pub blocks: usize }
pub fn alloc(len: usize, tag: Tag) -> Result<Blob, OutOfMemory> { unimplemented!() }
pub fn alloc_reserved(len: usize, tag: Tag) -> Result<Blob, OutOfMemory> { unimplemented!() }
pub fn stats() -> Stats { unimplemented!() }
pub fn usage() -> Vec<Usage> { unimplemented!() }
/// While alive, this process' allocations may dip into the reserve (ACK/BYE/CANCEL, control).
pub struct ReserveGuard;
pub fn use_reserve() -> ReserveGuard { unimplemented!() }
