//! Values that have names: the words that arguments, files and records use for them.

/// An enum whose values have names. [`crate::named_values!`] declares one.
pub trait NamedValue: Copy + PartialEq + Send + Sync + Sized + 'static {
    /// Each value with its names, the first of which is written and all of which are read, and what it means.
    const VALUES: &'static [(Self, &'static [&'static str], &'static str)];

    /// The name that is written.
    fn name(self) -> &'static str {
        Self::VALUES.iter().find(|(value, ..)| *value == self).map_or("", |(_, names, _)| names[0])
    }

    /// The value of a name; none where nothing is called so.
    fn named(name: &str) -> Option<Self> {
        Self::VALUES.iter().find(|(_, names, _)| names.contains(&name)).map(|(value, ..)| *value)
    }
}

/// Declares an enum whose values have names: `Variant = ["name", "another name"]`. The first line of a variant's
/// documentation says what it means to whoever reads a program's help.
#[macro_export]
macro_rules! named_values {
    ($(#[$about:meta])* pub enum $Name:ident { $($(#[doc = $doc:literal])+ $Variant:ident = [$($name:literal),+]),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $Name { $($(#[doc = $doc])+ $Variant),+ }

        impl $crate::NamedValue for $Name {
            const VALUES: &'static [(Self, &'static [&'static str], &'static str)] =
                &[$((Self::$Variant, &[$($name),+], concat!($($doc),+))),+];
        }
    };
}

#[cfg(test)]
mod tests {
    use super::NamedValue;

    crate::named_values! {
        /// A fruit.
        pub enum Fruit {
            /// It is red
            Apple = ["apple", "pomme"],
            /// It is not
            Plum = ["plum"],
        }
    }

    #[test]
    fn names_are_written_and_read() {
        assert_eq!((Fruit::Apple.name(), Fruit::Plum.name()), ("apple", "plum"));
        assert_eq!((Fruit::named("pomme"), Fruit::named("pear")), (Some(Fruit::Apple), None));
        assert_eq!(Fruit::VALUES[0].2.trim(), "It is red");
    }
}
