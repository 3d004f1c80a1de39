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
        if (TryGet(credential, request) is { } token)
        {
            return token;
        }

        foreach (var member in source.Members)
        {
            member.BeforeWaiting();
            member.AddWaitingThread(1);
        }

        try
        {
            return new PendingThread<AccessToken>(Read).Run(Call(credential, request), cancellationToken);
        }
        finally
        {
            foreach (var member in source.Members)
            {
                member.AddWaitingThread(-1);
            }
        }
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
            if (TryGet(credential, request) is { } token)
            {
                return new(token);
            }

            foreach (var member in source.Members)
            {
                member.BeforeWaiting();
            }

            return new(new PendingTask<AccessToken>(Read).RunAsync(Call(credential, request), cancellationToken));
        }
        catch (PgEntraException failure)
        {
            return ValueTask.FromException<AccessToken>(failure);
        }
    }

    private static AccessToken? TryGet(CredentialHandle credential, TokenRequest request)
    {
        nint token = 0, error = 0;
        long expiresOn = 0;
        var code = With(request, wanted => Native.TryGetToken(credential, wanted, out token, out expiresOn, out error));
        Library.Check(code, error);
        return token == 0 ? null : new(Library.Take(token)!, DateTimeOffset.FromUnixTimeSeconds(expiresOn));
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

    internal static AccessToken Read(in Outcome outcome) => new(
        Marshal.PtrToStringUTF8(outcome.Token)!, DateTimeOffset.FromUnixTimeSeconds(outcome.ExpiresOn));

    private static int With(TokenRequest request, CallWith call)
    {
        ArgumentNullException.ThrowIfNull(request);
        WantedToken wanted = default;
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
