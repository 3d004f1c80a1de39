package io.github.pgentra.internal;

import io.github.pgentra.EntraException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** An asynchronous call of the engine. Cancelling it ends this wait; the fetch continues for others. */
final class PendingCall<T> extends CompletableFuture<T> implements Completion {
    /** Makes the result of a call that succeeded. */
    interface Result<T> {
        T of(String token, String user, String userSource, long expiresOn, long refreshOn, long id);
    }

    /** Starts a call and returns its operation. */
    interface Start {
        long start(Completion completion, byte[][] errors);
    }

    private final Result<T> result;
    private long operation;

    private PendingCall(Result<T> result) {
        this.result = result;
    }

    static <T> PendingCall<T> start(Result<T> result, Start start) {
        PendingCall<T> call = new PendingCall<>(result);
        byte[][] errors = new byte[1][];
        call.begin(start.start(call, errors));
        Errors.check(errors);
        return call;
    }

    private synchronized void begin(long started) {
        operation = started;
        if (isDone()) {
            free();
        }
    }

    private void free() {
        if (operation != 0) {
            Native.freeOperation(operation);
            operation = 0;
        }
    }

    @Override
    public void done(
            byte[] error,
            Throwable cause,
            byte[] token,
            byte[] user,
            byte[] userSource,
            long expiresOn,
            long refreshOn,
            long id) {
        synchronized (this) {
            free();
        }
        try {
            if (error != null) {
                completeExceptionally(Errors.of(Native.string(error), cause));
            } else {
                complete(result.of(
                        Native.string(token),
                        Native.string(user),
                        Native.string(userSource),
                        expiresOn,
                        refreshOn,
                        id));
            }
        } catch (Throwable e) {
            completeExceptionally(e);
        }
    }

    @Override
    public boolean cancel(boolean mayInterruptIfRunning) {
        synchronized (this) {
            if (operation != 0) {
                Native.cancel(operation);
            }
        }
        return super.cancel(mayInterruptIfRunning);
    }

    /** Waits for the result. A virtual thread unmounts. An interrupt ends the wait, and the thread stays interrupted. */
    T await() {
        try {
            return get();
        } catch (InterruptedException e) {
            cancel(true);
            Thread.currentThread().interrupt();
            throw Errors.create(Errors.CANCELLED, "the wait for a token was interrupted", null);
        } catch (ExecutionException e) {
            // The stack of this thread says who waited.
            if (e.getCause() instanceof EntraException error) {
                error.setStackTrace(Thread.currentThread().getStackTrace());
                throw error;
            }
            throw new IllegalStateException(e.getCause());
        }
    }
}
