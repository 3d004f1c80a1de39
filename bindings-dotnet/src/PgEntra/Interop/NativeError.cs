using System.Runtime.InteropServices;
using PgEntra.Identity;

namespace PgEntra.Interop;

/// <summary>Converts the engine's errors to exceptions.</summary>
internal static class NativeError
{
    /// <summary>Throws the error of a function that failed.</summary>
    internal static void Check(int code, nint error)
    {
        if (code != 0)
        {
            throw Take(error);
        }
    }

    /// <summary>Converts an error, and frees it.</summary>
    internal static PgEntraException Take(nint error)
    {
        try
        {
            return Read(error);
        }
        finally
        {
            Native.FreeError(error);
        }
    }

    /// <summary>Converts an error.</summary>
    internal static PgEntraException Read(nint error) => PgEntraException.Of(
        (ErrorKind)Native.GetErrorKind(error),
        Marshal.PtrToStringUTF8(Native.GetErrorMessage(error)) ?? "",
        Marshal.PtrToStringUTF8(Native.GetErrorDetail(error)) ?? "{}",
        ExceptionCauses.Find(Native.GetErrorCause(error)));

    /// <summary>Creates an exception for an error that this assembly found, in the form of the engine's errors.</summary>
    internal static PgEntraException Create(ErrorKind kind, string message, string? advice = null, string? credential = null)
    {
        _ = Native.NewError((int)kind, message, advice, credential, out var error);
        return Take(error);
    }
}
