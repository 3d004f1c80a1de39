package io.github.pgentra.internal;

import io.github.pgentra.AccessToken;
import io.github.pgentra.AsyncTokenSource;
import io.github.pgentra.TokenRequest;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/** A credential of the engine that is open. It is closed when it is no longer reachable. */
public final class CredentialHandle {
    private final long handle;

    private CredentialHandle(long handle) {
        this.handle = handle;
        TokenClient.cleaner().register(this, () -> Native.credentialClose(handle));
    }

    long handle() {
        return handle;
    }

    /** Opens the credential of a configuration document, whose custom credentials are {@code members}. */
    public static CredentialHandle open(Map<String, Object> config, List<CredentialHandle> members) {
        Logging.start();
        long[] handles = members.stream().mapToLong(CredentialHandle::handle).toArray();
        byte[][] errors = new byte[1][];
        long handle = Native.credentialOpen(Native.utf8(Json.write(config)), handles, errors);
        Errors.check(errors);
        return new CredentialHandle(handle);
    }

    /** Opens a credential of the application. */
    public static CredentialHandle custom(String name, AsyncTokenSource source) {
        Logging.start();
        byte[][] errors = new byte[1][];
        TokenCallback callback = (request, scope, tenantId, claims, enableCae) -> respond(
                request,
                source,
                new TokenRequest(Native.string(scope), Native.string(tenantId), Native.string(claims), enableCae));
        long handle = Native.credentialCallback(Native.utf8(name), callback, errors);
        Errors.check(errors);
        return new CredentialHandle(handle);
    }

    private static void respond(long request, AsyncTokenSource source, TokenRequest wanted) {
        try {
            source.getTokenAsync(wanted).whenComplete((token, failure) -> {
                if (failure != null) {
                    fail(
                            request,
                            failure instanceof CompletionException && failure.getCause() != null
                                    ? failure.getCause()
                                    : failure);
                } else if (token == null) {
                    Native.fail(request, Native.utf8("null"), Native.utf8("it returned no token"), true, null);
                } else {
                    Native.respond(
                            request,
                            Native.utf8(token.token()),
                            seconds(token.expiresOn()),
                            seconds(token.refreshOn()));
                }
            });
        } catch (Throwable e) {
            fail(request, e);
        }
    }

    private static long seconds(Instant time) {
        return time == null ? 0 : time.getEpochSecond();
    }

    private static void fail(long request, Throwable failure) {
        boolean unavailable = false;
        for (Class<?> type = failure.getClass(); type != null; type = type.getSuperclass()) {
            // azure-identity's, and ours.
            unavailable |= type.getSimpleName().equals("CredentialUnavailableException");
        }
        Native.fail(
                request,
                Native.utf8(failure.getClass().getSimpleName()),
                Native.utf8(failure.getMessage() == null ? "" : failure.getMessage()),
                unavailable,
                failure);
    }

    /** Returns a token for a request; waits only while none is usable. */
    public AccessToken token(TokenRequest request) {
        AccessToken cached = cached(request);
        return cached != null ? cached : start(request).await();
    }

    /** As {@link #token}, without blocking. */
    public CompletableFuture<AccessToken> tokenAsync(TokenRequest request) {
        AccessToken cached = cached(request);
        return cached != null ? CompletableFuture.completedFuture(cached) : start(request);
    }

    private static byte[][] texts(TokenRequest request) {
        return new byte[][] {
            Native.utf8(request.scope()), Native.utf8(request.tenantId()), Native.utf8(request.claims())
        };
    }

    private AccessToken cached(TokenRequest request) {
        byte[][] texts = new byte[1][];
        byte[][] errors = new byte[1][];
        long[] times = new long[2];
        long id = Native.credentialTryGet(handle, texts(request), request.enableCae(), 0, texts, times, errors);
        Errors.check(errors);
        return id == 0
                ? null
                : new AccessToken(Native.string(texts[0]), TokenClient.time(times[0]), TokenClient.time(times[1]));
    }

    private PendingCall<AccessToken> start(TokenRequest request) {
        return PendingCall.start(
                (text, user, source, expiresOn, refreshOn, id) ->
                        new AccessToken(text, TokenClient.time(expiresOn), TokenClient.time(refreshOn)),
                (completion, errors) ->
                        Native.credentialStart(handle, texts(request), request.enableCae(), -1, completion, errors));
    }
}
