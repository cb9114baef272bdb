//! Systems to play: seven that were written down, of unlike shape, and any number that are drawn from a seed. Used by
//! scenarios. Must never hold what happens to a system: that is `fault` and `harmless`.

mod chain;
mod drawn;
mod office;
mod paperwork;
mod pipeline;
mod saga;
mod shop;
mod travel;

pub use chain::chain;
pub use drawn::drawn;
pub use office::office;
pub use paperwork::paperwork;
pub use pipeline::pipeline;
pub use saga::saga;
pub use shop::shop;
pub use travel::travel;

use crate::system::System;

/// Returns the systems that were written down.
pub fn written() -> Vec<System> {
    vec![shop(), saga(), travel(), pipeline(), office(), chain(), paperwork()]
}
