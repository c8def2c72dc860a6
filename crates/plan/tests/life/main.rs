//! Whole lives of machines, decided step by step in a world where everything
//! works at once.

mod choice;
mod condition;
mod correct;
mod install;
mod layout;
mod life;
mod tenant;
mod upkeep;
mod warm;
mod world;
