//! A token as the strings of the application's language: copying a token takes longer than the rest of a warm call.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;

use crate::{Login, Token};

/// A token, and possibly the role of a login with it, as strings of type `S`.
pub struct TokenStrings<S> {
    token: Arc<Token>,
    token_id: u64,
    password: S,
    login: Option<LoginStrings<S>>,
}

struct LoginStrings<S> {
    login: Arc<Login>,
    id: u64,
    user: S,
}

fn next_id() -> u64 {
    static IDS: AtomicU64 = AtomicU64::new(1);
    IDS.fetch_add(1, Ordering::Relaxed)
}

impl<S> TokenStrings<S> {
    /// Converts a token with `make`.
    pub fn new(token: &Arc<Token>, make: impl Fn(&str) -> S) -> Self {
        TokenStrings { token: Arc::clone(token), token_id: next_id(), password: make(token.secret()), login: None }
    }

    /// Returns whether these are the strings of this token: each thread can have its own handle of it.
    #[inline]
    pub fn is_of(&self, token: &Token) -> bool {
        self.token.is(token)
    }

    /// Returns the token.
    pub fn token(&self) -> &Arc<Token> {
        &self.token
    }

    /// Returns a number that no other token of this process has. It is the same for a login with this token.
    pub fn token_id(&self) -> u64 {
        self.token_id
    }

    /// Returns the token's text.
    pub fn password(&self) -> &S {
        &self.password
    }

    /// Returns a number that no other login of this process has, or 0 without a login.
    pub fn login_id(&self) -> u64 {
        self.login.as_ref().map_or(0, |login| login.id)
    }

    /// Returns the role, if these are the strings of a login.
    pub fn user(&self) -> Option<&S> {
        self.login.as_ref().map(|login| &login.user)
    }

    /// Returns the source of the role name; an empty text without a login.
    pub fn user_source(&self) -> &'static str {
        self.login.as_ref().map_or("", |login| login.login.user_source())
    }
}

/// The strings of the last token that a provider returned. `S` is cheap to clone: a reference to an object of the
/// application's language, or `()` where only the numbers are needed.
pub struct TokenStringCache<S>(ArcSwapOption<TokenStrings<S>>);

impl<S> Default for TokenStringCache<S> {
    fn default() -> Self {
        TokenStringCache(ArcSwapOption::empty())
    }
}

impl<S: Clone> TokenStringCache<S> {
    /// Calls `work` with the strings of a token. `make` converts a text that is not cached.
    #[inline]
    pub fn with_token<R>(
        &self,
        token: &Arc<Token>,
        make: impl Fn(&str) -> S,
        work: impl FnOnce(&TokenStrings<S>) -> R,
    ) -> R {
        match self.0.load().as_deref() {
            Some(strings) if strings.is_of(token) => work(strings),
            _ => {
                let strings = Arc::new(TokenStrings::new(token, make));
                self.0.store(Some(Arc::clone(&strings)));
                work(&strings)
            }
        }
    }

    /// Calls `work` with the strings of a login and its role. A login with the same token as before gets the same
    /// `password`.
    #[inline]
    pub fn with_login<R>(
        &self,
        login: &Arc<Login>,
        make: impl Fn(&str) -> S,
        work: impl FnOnce(&TokenStrings<S>, &S) -> R,
    ) -> R {
        let cached = self.0.load();
        let same_token = cached.as_deref().filter(|strings| strings.is_of(login.token()));
        // A management token can change the role of the same token.
        if let Some(strings) = same_token
            && let Some(known) = &strings.login
            && (known.login.user(), known.login.user_source()) == (login.user(), login.user_source())
        {
            return work(strings, &known.user);
        }
        let (token_id, password) = match same_token {
            Some(strings) => (strings.token_id, strings.password.clone()),
            None => (next_id(), make(login.password())),
        };
        let user = make(login.user());
        let of_login = LoginStrings { login: Arc::clone(login), id: next_id(), user: user.clone() };
        let token = Arc::clone(login.token());
        let strings = Arc::new(TokenStrings { token, token_id, password, login: Some(of_login) });
        self.0.store(Some(Arc::clone(&strings)));
        work(&strings, &user)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{
        credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest},
        error::Result,
    };

    struct Given(&'static str);

    impl Credential for Given {
        fn name(&self) -> &str {
            "Given"
        }

        fn fetch<'a>(&'a self, _: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
            Box::pin(async { FetchedToken::from_custom(self.0, Some(4_000_000_000), None) })
        }
    }

    fn login(user: &str, token: &'static str) -> Arc<Login> {
        let builder = crate::TokenProvider::builder().environment(Default::default()).user(user);
        let provider = builder.credential(crate::CachedCredential::from_credential(Arc::new(Given(token)))).build();
        provider.expect("builds").login_blocking().expect("a login")
    }

    #[test]
    fn token_string_cache_converts_each_text_once() {
        let cache = TokenStringCache::<Arc<str>>::default();
        let made = Cell::new(0);
        let make = |text: &str| {
            made.set(made.get() + 1);
            Arc::<str>::from(text)
        };
        let first = login("app", "canary.1");
        let (id, password) = cache.with_token(first.token(), make, |s| (s.token_id(), s.password().clone()));
        assert_eq!((&*password, made.get()), ("canary.1", 1));
        let (token_id, login_id) = cache.with_login(&first, make, |strings, user| {
            assert!(Arc::ptr_eq(strings.password(), &password) && &**user == "app");
            assert_eq!((strings.user_source(), made.get()), ("user", 2));
            (strings.token_id(), strings.login_id())
        });
        assert!(token_id == id && login_id != 0);
        // Both stay, whichever is used.
        cache.with_token(first.token(), make, |strings| assert_eq!(strings.token_id(), id));
        cache.with_login(&first, make, |strings, _| assert_eq!(strings.login_id(), login_id));
        assert_eq!(made.get(), 2);
    }

    #[test]
    fn token_string_cache_with_another_token_or_role_returns_other_numbers() {
        let cache = TokenStringCache::<()>::default();
        let ids = |login: &Arc<Login>| cache.with_login(login, |_| (), |s, ()| (s.token_id(), s.login_id()));
        let first = login("app", "canary.1");
        let second = login("app", "canary.2");
        let of_first = ids(&first);
        let of_second = ids(&second);
        assert!(of_first.0 != of_second.0 && of_first.1 != of_second.1);
        let renamed = Arc::new(second.with_user("other"));
        let of_renamed = ids(&renamed);
        assert!(of_renamed.0 == of_second.0 && of_renamed.1 != of_second.1);
    }
}
