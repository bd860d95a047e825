pub use super::reference::attention;
