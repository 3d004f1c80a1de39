#!/bin/sh
# Makes the keys and certificates of the vectors: good for nothing but these tests. They are checked in, so that every
# language finds the same bytes; run this only to add one, and write the thumbprints it prints into the vectors.
# Needs OpenSSL 3 with its legacy provider. The password of whatever has one is canary-password.
# Six are by other tools, with the key and certificate of app.pem: bouncycastle.pfx (KeyStore "PKCS12" of BouncyCastle 1.80),
# java-legacy.pfx (Java 25 with keystore.pkcs12.legacy, and the password canary-pässwörd), java-mac.pfx (Java 25 with
# keystore.pkcs12.macAlgorithm=PBEWithHmacSHA512),
# dotnet.pfx (X509Certificate2.Export(X509ContentType.Pkcs12, null) of .NET 10), forge.pfx (node-forge's toPkcs12Asn1 with a
# password of null and 3des) and pbmac1.pfx (Modern2026 of go-pkcs12 0.7).
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
password=pass:canary-password
days=36500

key() { openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:$2" -out "$work/$1.key" 2>/dev/null; }
self_signed() { openssl req -x509 -new -key "$work/$1.key" -subj "/CN=$1" -days "$days" -out "$work/$1.crt"; }
issued() { # NAME ISSUER
    openssl req -new -key "$work/$1.key" -subj "/CN=$1" -out "$work/$1.csr"
    openssl x509 -req -in "$work/$1.csr" -CA "$work/$2.crt" -CAkey "$work/$2.key" -days "$days" -out "$work/$1.crt" \
        -set_serial "$3" 2>/dev/null
}
at() { # NAME NOT_BEFORE NOT_AFTER
    openssl req -new -key "$work/$1.key" -subj "/CN=$1" -out "$work/$1.csr"
    : >"$work/index"; echo 01 >"$work/serial"
    openssl ca -batch -selfsign -notext -keyfile "$work/$1.key" -in "$work/$1.csr" -out "$work/$1.crt" \
        -startdate "$2" -enddate "$3" -config "$work/ca.conf" -outdir "$work" 2>/dev/null
}
printf '[ca]\ndefault_ca=own\n[own]\ndatabase=%s/index\nserial=%s/serial\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n' \
    "$work" "$work" >"$work/ca.conf"

key app 2048; self_signed app
key other 2048; self_signed other
key small 1024; self_signed small
key large 4096; self_signed large
key expired 2048; at expired 20200101000000Z 20210101000000Z
key early 2048; at early 21000101000000Z 21200101000000Z
key root 2048; self_signed root
key intermediate 2048; issued intermediate root 1
key leaf 2048; issued leaf intermediate 2
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/ec.key"; self_signed ec

cat "$work/app.key" "$work/app.crt" >app.pem
{ openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 2048 -in "$work/app.key" -passout "$password"; cat "$work/app.crt"; } >encrypted.pem
{ openssl pkcs8 -topk8 -scrypt -scrypt_N 1024 -in "$work/app.key" -passout "$password"; cat "$work/app.crt"; } >scrypt.pem
{ openssl pkcs8 -topk8 -v2 des3 -v2prf hmacWithSHA1 -in "$work/app.key" -passout "$password"; cat "$work/app.crt"; } >des3.pem
openssl rsa -traditional -in "$work/app.key" 2>/dev/null | cat - "$work/app.crt" >traditional.pem
openssl rsa -traditional -aes256 -in "$work/app.key" -passout "$password" 2>/dev/null | cat - "$work/app.crt" >traditional-aes256.pem
openssl rsa -traditional -des3 -in "$work/app.key" -passout "$password" 2>/dev/null | cat - "$work/app.crt" >traditional-des3.pem
cat "$work/large.key" "$work/large.crt" >large.pem
# Neither in the order of the chain nor with the key first.
cat "$work/root.crt" "$work/leaf.crt" "$work/leaf.key" "$work/intermediate.crt" >chain.pem

bundle() { # NAME OUTPUT OPTIONS...
    name=$1 output=$2; shift 2
    openssl pkcs12 -export -inkey "$work/$name.key" -in "$work/$name.crt" -passout "$password" -out "$output" "$@"
}
bundle app app.pfx
bundle app legacy.pfx -legacy
bundle leaf chain.pfx -certfile "$work/intermediate.crt"
bundle ec ec.pfx
bundle expired expired.pfx
openssl pkcs12 -export -nokeys -in "$work/app.crt" -passout "$password" -out no-key.pfx
openssl pkcs12 -export -inkey "$work/app.key" -in "$work/app.crt" -passout pass: -out empty-password.pfx
legacy="-provider legacy -provider default"
bundle app 2des.pfx -keypbe PBE-SHA1-2DES -certpbe PBE-SHA1-2DES $legacy
bundle app rc2.pfx -keypbe PBE-SHA1-RC2-128 -certpbe PBE-SHA1-RC2-128 $legacy
bundle app rc4.pfx -keypbe PBE-SHA1-RC4-128 -certpbe PBE-SHA1-RC4-40 $legacy
bundle app camellia.pfx -keypbe camellia-256-cbc -certpbe camellia-256-cbc
bundle app sha3-mac.pfx -macalg sha3-256
bundle app rounds.pfx -iter 10000000 -keypbe NONE -certpbe NONE
bundle app no-mac.pfx -nomac
openssl pkcs12 -export -inkey "$work/app.key" -in "$work/app.crt" -passout "pass:canary-😀-pässwörd" -legacy -out emoji-password.pfx
{ cat app.pfx; printf 'more'; } >trailing.pfx
head -c 1000 app.pfx >cut.pfx

encrypted() { # OUTPUT OPTIONS...
    output=$1; shift
    openssl pkcs8 -topk8 -in "$work/app.key" -passout "$password" $legacy "$@" | cat - "$work/app.crt" >"$output"
}
encrypted pbes1-des.pem -v1 PBE-MD5-DES
encrypted pbes1-3des.pem -v1 PBE-SHA1-3DES
encrypted rc2.pem -v2 rc2-cbc
encrypted seed.pem -v2 seed-cbc
encrypted cfb.pem -v2 aes-256-cfb
openssl rsa -traditional -des $legacy -in "$work/app.key" -passout "$password" 2>/dev/null | cat - "$work/app.crt" >traditional-des.pem
sed ':a;N;$!ba;s/\n/\\n/g' app.pem >escaped.pem
{ printf '\357\273\277'; cat app.pem; } >marked.pem
iconv -t UTF-16 app.pem >utf16.pem

openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3 -out "$work/exponent.key" 2>/dev/null
self_signed exponent; cat "$work/exponent.key" "$work/exponent.crt" >exponent.pem
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out "$work/pss.key" 2>/dev/null
self_signed pss; cat "$work/pss.key" "$work/pss.crt" >pss.pem

# Authorities for TLS: trusted for servers, rejected for them, and trusted for mail alone.
{ openssl x509 -in "$work/app.crt" -trustout -addtrust serverAuth -setalias ours
  openssl x509 -in "$work/expired.crt" -trustout -addreject serverAuth
  openssl x509 -in "$work/early.crt" -trustout -addtrust emailProtection; } >authorities.pem

cat "$work/ec.key" "$work/ec.crt" >ec.pem
cat "$work/small.key" "$work/small.crt" >small.pem
cat "$work/expired.key" "$work/expired.crt" >expired.pem
cat "$work/early.key" "$work/early.crt" >early.pem
cat "$work/app.crt" >no-key.pem
cat "$work/app.key" >no-certificate.pem
cat "$work/app.key" "$work/other.key" "$work/app.crt" >two-keys.pem
cat app.pem chain.pem >two-pairs.pem
cat "$work/app.key" "$work/other.crt" >another-certificate.pem
openssl x509 -in "$work/app.crt" -outform DER -out certificate.der
{ cat "$work/app.key"; printf '%s\n' '-----BEGIN CERTIFICATE-----' 'bm8gY2VydGlmaWNhdGU=' '-----END CERTIFICATE-----'; } >broken-certificate.pem
{ cat "$work/app.key"; echo '-----BEGIN CERTIFICATE-----'
  { openssl x509 -in "$work/app.crt" -outform DER; printf 'more'; } | openssl base64
  echo '-----END CERTIFICATE-----'; } >trailing-certificate.pem

for name in app large leaf; do
    printf '%s ' "$name"
    openssl x509 -in "$work/$name.crt" -outform DER | openssl dgst -sha256 -binary | openssl base64 | tr '+/' '-_' | tr -d '='
done
