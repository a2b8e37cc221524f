//! Where a client program finds its server.

/// Where the server listens by default.
const DEFAULT: &str = "localhost:7070";
/// The environment variable that names another.
const VARIABLE: &str = "OSPREY_ADDR";

/// The server's `HOST:PORT`: what the command line says, else the environment variable `OSPREY_ADDR` if it is set and not
/// empty, else `localhost:7070`.
///
/// ```
/// use osprey::client::server_address;
///
/// assert_eq!(server_address(Some("db:7070".to_owned())), "db:7070");
/// ```
#[must_use]
pub fn server_address(flag: Option<String>) -> String {
    choose(flag, std::env::var(VARIABLE).ok())
}

fn choose(flag: Option<String>, variable: Option<String>) -> String {
    let variable = variable.filter(|address| !address.is_empty());
    flag.or(variable).unwrap_or_else(|| DEFAULT.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_that_over_the_default() {
        let choose = |flag: Option<&str>, variable: Option<&str>| choose(flag.map(Into::into), variable.map(Into::into));
        assert_eq!(choose(Some("flag:1"), Some("variable:2")), "flag:1");
        assert_eq!(choose(None, Some("variable:2")), "variable:2");
        assert_eq!(choose(None, Some("")), DEFAULT);
        assert_eq!(choose(None, None), DEFAULT);
    }
}
