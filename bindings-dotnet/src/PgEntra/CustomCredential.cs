using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>A credential that the application supplies, such as an object of the Azure SDK. The engine calls it when a fetch is due.</summary>
/// <remarks>
/// While a caller waits synchronously, it is called synchronously on a separate thread; otherwise it is called asynchronously.
/// So the fetch proceeds even if all threads of the thread pool wait for the token.
/// </remarks>
internal abstract class CustomCredential
{
    // Weak, so that only the application and the providers that use the object keep it alive.
    private static readonly Registry<WeakReference<CustomCredential>> Credentials = new();
    private static readonly AsyncLocal<Fetch?> Running = new();

    private CredentialHandle? handle;
    private int waitingThreads;
    private ExecutionContext? context;

    /// <summary>The class's name, for errors and logs.</summary>
    internal abstract string Name { get; }

    /// <summary>Whether it receives the scope. If not, it would return the database token to a request for a management token.</summary>
    internal virtual bool TakesScope => true;

    /// <summary>Whether it can be called synchronously.</summary>
    internal virtual bool IsSynchronous => true;

    /// <summary>Whether its own exception is rethrown unchanged if the user name cannot be determined.</summary>
    internal virtual bool RethrowsOwnExceptions => false;

    /// <summary>The engine's handle of this credential.</summary>
    internal CredentialHandle Handle
    {
        get
        {
            lock (Credentials)
            {
                return handle ??= Open(this);
            }
        }
    }

    internal abstract AccessToken GetToken(TokenRequest request);

    internal abstract ValueTask<AccessToken> GetTokenAsync(TokenRequest request);

    /// <summary>Returns a credential of the same object for one call, without cached tokens.</summary>
    internal CustomCredential ForOneCall() => new Uncached(this);

    /// <summary>Throws if a fetch would wait for itself.</summary>
    internal void RefuseDeadlock()
    {
        if (Running.Value is { Active: true } fetch && fetch.Credential.Origin == Origin)
        {
            throw NativeError.Create(
                ErrorKind.WouldDeadlock, "a token was requested inside the credential's own call", credential: Name);
        }
    }

    /// <summary>Registers a waiting caller. The next fetch runs in its execution context.</summary>
    internal void BeginWait(ExecutionContext? caller, bool blocking)
    {
        context = caller;
        if (blocking)
        {
            _ = Interlocked.Increment(ref waitingThreads);
        }
    }

    /// <summary>Ends the registration, and releases the caller's execution context.</summary>
    internal void EndWait(ExecutionContext? caller, bool blocking)
    {
        _ = Interlocked.CompareExchange(ref context, null, caller);
        if (blocking)
        {
            _ = Interlocked.Decrement(ref waitingThreads);
        }
    }

    private protected virtual CustomCredential Origin => this;

    private static unsafe CredentialHandle Open(CustomCredential credential)
    {
        var id = Credentials.Add(new(credential));
        var code = Native.OpenCredential(credential.Name, &OnRequest, id, &OnClosed, out var handle, out var error);
        if (code != 0)
        {
            _ = Credentials.Remove(id);
            throw NativeError.Take(error);
        }

        return handle;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnClosed(nint id) => Credentials.Remove(id);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static unsafe void OnRequest(nint id, nint request, NativeTokenRequest* wanted)
    {
        try
        {
            if (Credentials.Find(id)?.TryGetTarget(out var credential) == true)
            {
                credential.Begin(request, new(Marshal.PtrToStringUTF8((nint)wanted->Scope) ?? "")
                {
                    TenantId = Marshal.PtrToStringUTF8((nint)wanted->TenantId),
                    Claims = Marshal.PtrToStringUTF8((nint)wanted->Claims),
                    IsCaeEnabled = wanted->EnableCae != 0,
                });
                return;
            }
        }
        catch (Exception failure)
        {
            // An exception must not reach the engine.
            ExceptionCauses.Fail(request, failure.GetType().Name, failure.Message, false, failure);
            return;
        }

        _ = Native.Abandon(request, out var error);
        Native.FreeError(error);
    }

    private void Begin(nint request, TokenRequest wanted)
    {
        var fetch = new Fetch(this, request, wanted, Interlocked.Exchange(ref context, null));
        if (IsSynchronous && Volatile.Read(ref waitingThreads) > 0)
        {
            new Thread(fetch.Run) { IsBackground = true, Name = "PgEntra " + Name }.UnsafeStart();
        }
        else
        {
            _ = ThreadPool.UnsafeQueueUserWorkItem(static fetch => fetch.RunAsync(), fetch, preferLocal: false);
        }
    }

    private sealed class Fetch(CustomCredential credential, nint request, TokenRequest wanted, ExecutionContext? caller)
    {
        internal CustomCredential Credential => credential;

        internal bool Active { get; private set; } = true;

        internal void Run() => InContext(() =>
        {
            try
            {
                Respond(credential.GetToken(wanted));
            }
            catch (Exception failure)
            {
                Fail(failure);
            }
        });

        internal void RunAsync() => InContext(async () =>
        {
            try
            {
                Respond(await credential.GetTokenAsync(wanted).ConfigureAwait(false));
            }
            catch (Exception failure)
            {
                Fail(failure);
            }
        });

        private void InContext(Action work)
        {
            void RunMarked(object? _)
            {
                Running.Value = this;
                work();
            }

            // The credential reads the caller's AsyncLocal values, as it would without a cache.
            if (caller is not null)
            {
                ExecutionContext.Run(caller, RunMarked, null);
            }
            else
            {
                RunMarked(null);
            }
        }

        private void Respond(AccessToken token)
        {
            Active = false;
            if (token.Token?.Contains('\0', StringComparison.Ordinal) == true)
            {
                Fail(new InvalidOperationException("the token contains NUL characters"));
                return;
            }

            var refreshOn = token.RefreshOn?.ToUnixTimeSeconds() ?? 0;
            _ = Native.Respond(request, token.Token ?? "", token.ExpiresOn.ToUnixTimeSeconds(), refreshOn, out var error);
            // An error means that the response came too late.
            Native.FreeError(error);
        }

        private void Fail(Exception failure)
        {
            Active = false;
            ExceptionCauses.Fail(request, failure.GetType().Name, Text(failure), IsUnavailable(failure.GetType()), failure);
        }

        /// <summary>Returns Entra's own message if the exception quotes it: the Azure SDK puts many lines before it.</summary>
        private static string Text(Exception failure)
        {
            try
            {
                for (var inner = failure; inner is not null; inner = inner.InnerException)
                {
                    if (inner.Message.IndexOf("AADSTS", StringComparison.Ordinal) is >= 0 and var quoted)
                    {
                        return inner.Message[quoted..].ReplaceLineEndings(" ");
                    }
                }

                return failure.Message.ReplaceLineEndings(" ");
            }
            catch (Exception)
            {
                // The message is the application's own code, which may throw too.
                return "";
            }
        }

        /// <summary>Compares by name, because this assembly does not reference the Azure SDK.</summary>
        private static bool IsUnavailable(Type? type)
        {
            for (; type is not null; type = type.BaseType)
            {
                if (type.Name == nameof(CredentialUnavailableException))
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>The same object, for one call.</summary>
    private sealed class Uncached(CustomCredential credential) : CustomCredential
    {
        internal override string Name => credential.Name;

        internal override bool IsSynchronous => credential.IsSynchronous;

        private protected override CustomCredential Origin => credential.Origin;

        internal override AccessToken GetToken(TokenRequest request) => credential.GetToken(request);

        internal override ValueTask<AccessToken> GetTokenAsync(TokenRequest request) => credential.GetTokenAsync(request);
    }
}
