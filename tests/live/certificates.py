"""A certificate authority of the tests' own, and certificates of 127.0.0.1 from it."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@define
class Authority:
    """Makes certificates that are valid for an hour. Clients trust it that have `pem`."""

    key: ec.EllipticCurvePrivateKey = field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )
    issued: int = 1

    @property
    def name(self) -> x509.Name:
        """Its name, as subject and issuer."""
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The tests' own authority")])

    def pem(self, folder: Path) -> Path:
        """Its certificate, as a file of `folder`."""
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        usage = dict.fromkeys(
            (
                "content_commitment",
                "data_encipherment",
                "decipher_only",
                "encipher_only",
                "key_agreement",
                "key_encipherment",
            ),
            False,
        )
        certificate = (
            self._builder(self.name, self.key.public_key(), 1)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage),
                critical=True,
            )
            .sign(self.key, hashes.SHA256())
        )
        return _written(
            folder / "authority.pem", certificate.public_bytes(serialization.Encoding.PEM)
        )

    def issue(self, chain: Path, key: Path) -> int:
        """Write a new certificate and its key over these files, each at one stroke; the
        certificate's serial number.
        """
        self.issued += 1
        private = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
        )
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = (
            self._builder(x509.Name([]), private.public_key(), self.issued)
            .add_extension(names, critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        text = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        _written(key, text)
        _written(chain, certificate.public_bytes(serialization.Encoding.PEM))
        return self.issued

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, serial: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            issuer_name=self.name,
            subject_name=subject,
            public_key=key,
            serial_number=serial,
            not_valid_before=now - timedelta(minutes=5),
            not_valid_after=now + timedelta(hours=1),
        )


def _written(path: Path, data: bytes) -> Path:
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(data)
    return beside.replace(path)
