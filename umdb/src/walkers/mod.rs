//! Ways to go through the heap element by element, for `::walk` and pipes.
//!
//! **Owns** nothing yet: walkers come with the pipes of the command language. **May use** everything from
//! `target` to `analysis`. **Promises** that each walk ends.
