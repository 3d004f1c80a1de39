using System.Runtime.InteropServices;
using System.Runtime.InteropServices.Marshalling;
using PgEntra.Interop;

namespace PgEntra.Identity;

/// <summary>Who logs in. The names and arguments of the credentials are those of the Azure SDK's identity library.</summary>
/// <remarks>Tokens are cached, refreshed ahead and fetched once for everybody who waits. Equal credentials share them.</remarks>
public abstract class PgEntraCredential
{
    private protected PgEntraCredential(CredentialSource source) => Source = source;

    internal CredentialSource Source { get; }

    /// <summary>A token for any scope. Blocks only while there is none.</summary>
    /// <param name="request">What it is for.</param>
    /// <param name="cancellationToken">Ends the wait; the fetch goes on for others.</param>
    /// <returns>The token and its end.</returns>
    /// <exception cref="PgEntraException">There is none.</exception>
    public AccessToken GetToken(TokenRequest request, CancellationToken cancellationToken = default) =>
        Tokens.Get(Source, request, cancellationToken);

    /// <summary>A token for any scope. Blocks no thread.</summary>
    /// <param name="request">What it is for.</param>
    /// <param name="cancellationToken">Ends the wait; the fetch goes on for others.</param>
    /// <returns>The token and its end.</returns>
    /// <exception cref="PgEntraException">There is none.</exception>
    public ValueTask<AccessToken> GetTokenAsync(TokenRequest request, CancellationToken cancellationToken = default) =>
        Tokens.GetAsync(Source, request, cancellationToken);
}

/// <summary>Tokens of a credential, for any scope.</summary>
internal static unsafe class Tokens
{
    private delegate int CallWith(WantedToken* wanted);

    internal static AccessToken Get(CredentialSource source, TokenRequest request, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var credential = source.Credential();
        return Try(source, credential, request)
            ?? Waiting.Block(source.Members, Call(credential, request), Reader(source, request), cancellationToken);
    }

    internal static ValueTask<AccessToken> GetAsync(
        CredentialSource source, TokenRequest request, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<AccessToken>(cancellationToken);
        }

        try
        {
            var credential = source.Credential();
            return Try(source, credential, request) is { } token
                ? new(token)
                : new(Waiting.AwaitAsync(source.Members, Call(credential, request), Reader(source, request), cancellationToken));
        }
        catch (PgEntraException failure)
        {
            return ValueTask.FromException<AccessToken>(failure);
        }
    }

    /// <summary>A token, if one is cached: the same string again as long as it is the same token.</summary>
    private static AccessToken? Try(CredentialSource source, CredentialHandle credential, TokenRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        var before = source.Known(request);
        ulong id = before?.Id ?? 0;
        nint token = 0, error = 0;
        long expiresOn = 0, refreshOn = 0;
        var code = With(
            request,
            wanted => Native.TryGetToken(credential, wanted, ref id, out token, out expiresOn, out refreshOn, out error));
        Library.Check(code, error);
        if (token == 0)
        {
            return id == 0 ? null : before?.Token;
        }

        var found = new AccessToken(Library.Take(token)!, Library.Time(expiresOn), Refresh(refreshOn));
        source.Remember(request, new(id, found));
        return found;
    }

    internal static StartCall Call(CredentialHandle credential, TokenRequest request) =>
        (callback, id, out operation, out error) =>
        {
            OperationHandle? started = null;
            nint failed = 0;
            var code = With(
                request, wanted => Native.GetTokenAsync(credential, wanted, -1, callback, id, out started, out failed));
            (operation, error) = (started!, failed);
            return code;
        };

    /// <summary>One string for all who waited for it.</summary>
    private static ReadOutcome<AccessToken> Reader(CredentialSource source, TokenRequest request) => (in outcome) =>
    {
        var before = source.Known(request);
        if (before?.Id == outcome.Id)
        {
            return before.Token;
        }

        var found = Read(outcome);
        source.Remember(request, new(outcome.Id, found));
        return found;
    };

    internal static AccessToken Read(in Outcome outcome) => new(
        Marshal.PtrToStringUTF8(outcome.Token)!, Library.Time(outcome.ExpiresOn), Refresh(outcome.RefreshOn));

    private static DateTimeOffset? Refresh(long seconds) => seconds == 0 ? null : Library.Time(seconds);

    private static int With(TokenRequest request, CallWith call)
    {
        WantedToken wanted = new() { Size = (nuint)sizeof(WantedToken) };
        try
        {
            wanted.Scope = Utf8StringMarshaller.ConvertToUnmanaged(request.Scope);
            wanted.TenantId = Utf8StringMarshaller.ConvertToUnmanaged(request.TenantId);
            wanted.Claims = Utf8StringMarshaller.ConvertToUnmanaged(request.Claims);
            wanted.EnableCae = request.IsCaeEnabled ? (byte)1 : (byte)0;
            return call(&wanted);
        }
        finally
        {
            Utf8StringMarshaller.Free(wanted.Scope);
            Utf8StringMarshaller.Free(wanted.TenantId);
            Utf8StringMarshaller.Free(wanted.Claims);
        }
    }
}
