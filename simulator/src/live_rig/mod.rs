//! The live rig: the hosts of a scenario against real servers, over real HTTP, in real time.

mod drive;
mod watch;
