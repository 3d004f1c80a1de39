package io.github.pgentra.identity;

import io.github.pgentra.AccessToken;
import java.util.Objects;
import java.util.function.Supplier;

/** A function of the application that returns an assertion. */
final class AssertionCredential {
    final Credential credential;

    AssertionCredential(Supplier<String> assertion) {
        Objects.requireNonNull(assertion, "assertion");
        credential = Credential.of(request -> new AccessToken(assertion.get(), null));
    }
}
