#!/bin/sh
# Sees to it that what the tests need is here: DCMTK, Orthanc (with DICOMweb) and dicom3tools to talk to, npm for a DICOM
# client in JavaScript, PostgreSQL, Redis and RabbitMQ to stand on, a C compiler for the proof, OpenSSL for certificates,
# and the programs that read what is in deploy/ for Prometheus, its Alertmanager and HAProxy.
# Installs them through apt when root; otherwise says how. Servers are installed as programs, never as services.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# A program that only this package has: pynetdicom brings a findscu of its own.
missing=
command -v dcmdump >/dev/null || missing="$missing dcmtk"
command -v Orthanc >/dev/null || missing="$missing orthanc"
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing="$missing orthanc-dicomweb"
command -v dciodvfy >/dev/null || missing="$missing dicom3tools"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
command -v openssl >/dev/null || missing="$missing openssl"
# gcc alone brings no headers.
{ command -v cc && [ -e /usr/include/stdio.h ]; } >/dev/null || missing="$missing gcc libc6-dev"
command -v ip >/dev/null || missing="$missing iproute2"  # for the cluster's proof: without, proxies do
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v rabbitmq-server >/dev/null || missing="$missing rabbitmq-server"
command -v haproxy >/dev/null || missing="$missing haproxy"
command -v promtool >/dev/null || missing="$missing prometheus"
command -v amtool >/dev/null || missing="$missing prometheus-alertmanager"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "== missing:$missing. Tests that need them are skipped (with CI set: fail). To have them:"
  echo "   sudo apt-get install --no-install-recommends$missing"
  exit 0
fi

# While packages are unpacked, policy-rc.d forbids that services start: Orthanc would take ports 4242
# and 8042, Redis 6379, RabbitMQ 5672 and 25672 with an epmd on 4369, and Prometheus 9090.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi

export DEBIAN_FRONTEND=noninteractive
echo "== Debian packages:$missing"
progress() { sed -u -n -e 's/^Get:[0-9]* /   /p' -e 's/^Setting up/   setting up/p' -e '/^E:/p'; }
apt-get update -q 2>&1 | progress
apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 $missing 2>&1 | progress

# Nor shall they start with the machine.
for service in orthanc redis-server rabbitmq-server postgresql haproxy prometheus prometheus-alertmanager; do
  case "$missing" in *$service*)
    ! command -v update-rc.d >/dev/null || update-rc.d $service disable >/dev/null 2>&1 || true ;;
  esac
done

for program in dcmdump Orthanc dciodvfy node npm cc redis-server rabbitmq-server haproxy promtool amtool; do
  command -v $program >/dev/null || {
    echo "apt-get did not install all of:$missing" >&2
    exit 1
  }
done
