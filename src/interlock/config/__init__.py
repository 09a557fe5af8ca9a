"""The file `interlock.yaml`: read, checked, typed; and what a reload of it would change.

It MUST NOT do anything but read: nothing is created, connected to or started by loading a file.
"""

from interlock.config.buses import Login
from interlock.config.changes import Change, plan
from interlock.config.conflicts import Conflict, find_conflicts
from interlock.config.exports import Destination, Export, HeaderValue, Only
from interlock.config.hosts import Address
from interlock.config.issuers import Issuer
from interlock.config.json_schema import schema
from interlock.config.keys import AnyKek, Keys, Pkcs11, Pkcs11Source, Transit, TransitSource
from interlock.config.listeners import CertificateFiles, Connections, HostCertificate, Listener
from interlock.config.loader import load, parse
from interlock.config.model import Config
from interlock.config.own_issuer import OwnIssuer
from interlock.config.patterns import Param, Pattern, parse_pattern
from interlock.config.record import Publish, Record, WitnessAt, Witnesses
from interlock.config.retention import Retention
from interlock.config.routes import Allow, Cors, Route
from interlock.config.secrets import SecretRef
from interlock.config.services import Service, ServiceTls, Trust, Zone
from interlock.config.units import Rate, parse_duration, parse_rate, parse_size

__all__ = [
    "Address",
    "Allow",
    "AnyKek",
    "CertificateFiles",
    "Change",
    "Config",
    "Conflict",
    "Connections",
    "Cors",
    "Destination",
    "Export",
    "HeaderValue",
    "HostCertificate",
    "Issuer",
    "Keys",
    "Listener",
    "Login",
    "Only",
    "OwnIssuer",
    "Param",
    "Pattern",
    "Pkcs11",
    "Pkcs11Source",
    "Publish",
    "Rate",
    "Record",
    "Retention",
    "Route",
    "SecretRef",
    "Service",
    "ServiceTls",
    "Transit",
    "TransitSource",
    "Trust",
    "WitnessAt",
    "Witnesses",
    "Zone",
    "find_conflicts",
    "load",
    "parse",
    "parse_duration",
    "parse_pattern",
    "parse_rate",
    "parse_size",
    "plan",
    "schema",
]
