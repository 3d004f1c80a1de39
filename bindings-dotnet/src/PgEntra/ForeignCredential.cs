using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>A credential of the program, such as an object of the Azure SDK, asked by the engine when a fetch is due.</summary>
/// <remarks>
/// It is asked synchronously, on a thread of its own, while somebody waits synchronously, and else asynchronously: a
/// thread pool whose threads all wait for the token is no obstacle.
/// </remarks>
internal abstract class ForeignCredential
{
    // Weak: nobody keeps the program's object alive but the program and the providers on it.
    private static readonly Registry<WeakReference<ForeignCredential>> Known = new();
    private static readonly AsyncLocal<Fetch?> Running = new();

    private CredentialHandle? handle;
    private int waitingThreads;
    private ExecutionContext? context;

    /// <summary>The class, for errors and logs.</summary>
    internal abstract string Name { get; }

    /// <summary>Whether the scope reaches it. If not, it would answer the question for a management token with the same one.</summary>
    internal virtual bool TakesScope => true;

    /// <summary>Whether it can be asked synchronously.</summary>
    internal virtual bool IsSynchronous => true;

    /// <summary>Whether what it throws while the user name is worked out is passed on as it is.</summary>
    internal virtual bool PassesFailuresOn => false;

    /// <summary>The engine's credential.</summary>
    internal CredentialHandle Handle
    {
        get
        {
            lock (Known)
            {
                return handle ??= Open(this);
            }
        }
    }

    internal abstract AccessToken GetToken(TokenRequest request);

    internal abstract ValueTask<AccessToken> GetTokenAsync(TokenRequest request);

    /// <summary>Another one of the same object, with no tokens and the caller's own context: for one call.</summary>
    internal ForeignCredential Once() => new Single(this);

    /// <summary>Refuses a wait for a fetch inside of that fetch.</summary>
    internal void RefuseDeadlock()
    {
        if (Running.Value is { Active: true } fetch && fetch.Credential.Origin == Origin)
        {
            throw Library.Error(
                ErrorKind.WouldDeadlock, "a call for a token inside the credential's own call", credential: Name);
        }
    }

    /// <summary>Somebody begins to wait, in whose context the next fetch runs.</summary>
    internal void BeginWait(ExecutionContext? caller, bool blocking)
    {
        context = caller;
        if (blocking)
        {
            _ = Interlocked.Increment(ref waitingThreads);
        }
    }

    /// <summary>The wait has ended; what the caller's context holds is not kept.</summary>
    internal void EndWait(ExecutionContext? caller, bool blocking)
    {
        _ = Interlocked.CompareExchange(ref context, null, caller);
        if (blocking)
        {
            _ = Interlocked.Decrement(ref waitingThreads);
        }
    }

    private protected virtual ForeignCredential Origin => this;

    private static unsafe CredentialHandle Open(ForeignCredential credential)
    {
        var id = Known.Add(new(credential));
        var code = Native.OpenCredential(credential.Name, &Ask, id, &Finish, out var handle, out var error);
        if (code != 0)
        {
            _ = Known.Remove(id);
            throw Library.TakeError(error);
        }

        return handle;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Finish(nint id) => Known.Remove(id);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static unsafe void Ask(nint id, nint request, WantedToken* wanted)
    {
        try
        {
            if (Known.Find(id)?.TryGetTarget(out var credential) == true)
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
            // Nothing may cross into the engine.
            Causes.Fail(request, failure.GetType().Name, failure.Message, false, failure);
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

    private sealed class Fetch(ForeignCredential credential, nint request, TokenRequest wanted, ExecutionContext? caller)
    {
        internal ForeignCredential Credential => credential;

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
            void Marked(object? _)
            {
                Running.Value = this;
                work();
            }

            // What the caller has set for its own flow of control is seen by the credential, as without a cache.
            if (caller is not null)
            {
                ExecutionContext.Run(caller, Marked, null);
            }
            else
            {
                Marked(null);
            }
        }

        private void Respond(AccessToken token)
        {
            Active = false;
            if (token.Token?.Contains('\0', StringComparison.Ordinal) == true)
            {
                Fail(new InvalidOperationException("the token has NUL characters in it"));
                return;
            }

            var refreshOn = token.RefreshOn?.ToUnixTimeSeconds() ?? 0;
            _ = Native.Respond(request, token.Token ?? "", token.ExpiresOn.ToUnixTimeSeconds(), refreshOn, out var error);
            // It was answered too late: nobody waits any more.
            Native.FreeError(error);
        }

        private void Fail(Exception failure)
        {
            Active = false;
            Causes.Fail(request, failure.GetType().Name, Text(failure), IsUnavailable(failure.GetType()), failure);
        }

        /// <summary>The service's own words, where they are quoted: the Azure SDK puts many lines before them.</summary>
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
                // The program's own code, which may throw too.
                return "";
            }
        }

        /// <summary>By name: the Azure SDK's class is not known here.</summary>
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
    private sealed class Single(ForeignCredential credential) : ForeignCredential
    {
        internal override string Name => credential.Name;

        internal override bool IsSynchronous => credential.IsSynchronous;

        private protected override ForeignCredential Origin => credential.Origin;

        internal override AccessToken GetToken(TokenRequest request) => credential.GetToken(request);

        internal override ValueTask<AccessToken> GetTokenAsync(TokenRequest request) => credential.GetTokenAsync(request);
    }
}
