using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace PgEntra.Interop;

/// <summary>Exceptions of custom credentials, kept until the last error that refers to them is freed.</summary>
internal static unsafe class ExceptionCauses
{
    private static readonly Registry<Exception> Kept = new();

    internal static Exception? Find(nint id) => id == 0 ? null : Kept.Find(id);

    /// <summary>Ends a token request with a failure.</summary>
    internal static void Fail(nint request, string className, string message, bool unavailable, Exception cause)
    {
        // The finalizer of the cause is called even if the request had ended before.
        _ = Native.Fail(request, Clean(className), Clean(message), unavailable, Kept.Add(cause), &OnFreed, out var error);
        Native.FreeError(error);
    }

    /// <summary>Replaces NUL, which ends a C string.</summary>
    private static string Clean(string text) => text.Replace('\0', ' ');

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnFreed(nint id) => Kept.Remove(id);
}
