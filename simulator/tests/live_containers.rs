//! The servers of a live run, in containers: needs Docker and the images (`ci/local-images`).
