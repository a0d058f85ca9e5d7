#!/usr/bin/env bash
# usage: issue.sh FOLDER [NAME…]: a CA, a server certificate for the provider and a client certificate for the Cluster
# Autoscaler, as PEM files in FOLDER. NAMEs are further DNS names of the server. A CA that is there already is kept, so that
# certificates can be renewed one after another without a moment in which the two do not trust each other.
set -euo pipefail
folder=${1:?usage: issue.sh FOLDER [NAME…]}
shift
days=${DAYS:-365}
service=nodeset-provider.nodeset-provider
names="DNS:$service.svc,DNS:$service.svc.cluster.local,DNS:$service,DNS:nodeset-provider"
for name in "$@"; do names+=",DNS:$name"; done

umask 077
mkdir -p "$folder/server" "$folder/client"
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
if [[ ! -f $folder/ca.key ]]; then
  openssl req -x509 "${new_key[@]}" -keyout "$folder/ca.key" -out "$folder/ca.crt" -days 3650 \
    -subj "/CN=nodeset-provider CA" -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
fi

issue() { # folder subject usage [names]
  openssl req "${new_key[@]}" -keyout "$1/tls.key" -out "$1/request.pem" -subj "$2" 2>/dev/null
  {
    echo "basicConstraints = critical, CA:FALSE"
    echo "keyUsage = critical, digitalSignature"
    echo "extendedKeyUsage = $3"
    [[ -z ${4:-} ]] || echo "subjectAltName = $4"
  } > "$1/extensions"
  openssl x509 -req -in "$1/request.pem" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
    -days "$days" -extfile "$1/extensions" -out "$1/tls.crt" 2>/dev/null
  rm "$1/request.pem" "$1/extensions"
  cp "$folder/ca.crt" "$1/ca.crt"
}
issue "$folder/server" /CN=nodeset-provider serverAuth "$names"
issue "$folder/client" /CN=cluster-autoscaler clientAuth
