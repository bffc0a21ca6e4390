//! Frames through a packet socket: packet(7) has a kind of address that no safe crate knows.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Sends a whole frame, its Ethernet header included, by the interface with this index.
///
/// `socket` is a raw packet socket (AF_PACKET, SOCK_RAW); `protocol` is the frame's Ethernet type.
///
/// Errors: what sendto(2) says: a full queue, an interface that is down or gone.
pub fn send_frame(
    socket: BorrowedFd<'_>,
    interface: u32,
    protocol: u16,
    frame: &[u8],
) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::sa_family_t,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: frame and address are borrowed for the call, with their own lengths; the kernel
    // reads them only.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How many frames a packet socket has dropped since the last call because nobody read it.
///
/// Errors: what getsockopt(2) says of PACKET_STATISTICS.
pub fn dropped_frames(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // struct tpacket_stats: packets, drops.
    let mut counts = [0_u32; 2];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length` bytes, the size of `counts`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(counts[1])
}
