{{/*
The Deployment of one service. Takes {root, name, own}: `own` are the service's merged values.
The environment names must agree with services/<svc>/src/config.rs and of the shared structs in libs/; tests/tests/deploy.rs compares them.
*/}}
{{- define "rapport.deployment" -}}
{{- $values := .root.Values -}}
{{- $external := eq $values.storage.mode "external" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "rapport.fullname" . }}
  labels: {{- include "rapport.labels" . | nindent 4 }}
spec:
  {{- if not .own.autoscaling.enabled }}
  replicas: {{ .own.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    {{- $alone := and (not .own.autoscaling.enabled) (eq (int .own.replicas) 1) }}
    {{- if and $external (not .own.data.size) (not (and .own.data.existingClaim $alone)) }}
    # A new pod serves before an old one leaves.
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
    {{- else }}
    # Two pods must never hold the same SQLite file or the same claim.
    type: Recreate
    {{- end }}
  selector:
    matchLabels: {{- include "rapport.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "rapport.labels" . | nindent 8 }}
      {{- with .own.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "rapport.fullname" . }}
      automountServiceAccountToken: false
      # Service links would add an environment variable per Service of the namespace.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add $values.drain.preStopSeconds $values.drain.serverSeconds $values.drain.marginSeconds }}
      securityContext: {{- include "rapport.podSecurity" . | nindent 8 }}
      {{- with $values.image.pullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .own.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: {{ .own.spread.zone }}
          labelSelector:
            matchLabels: {{- include "rapport.selector" . | nindent 14 }}
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: {{ .own.spread.host }}
          labelSelector:
            matchLabels: {{- include "rapport.selector" . | nindent 14 }}
      {{- with .own.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .own.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .own.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "rapport.image" .root }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command: [rapport-{{ .name }}]
          ports:
            - name: grpc
              containerPort: {{ $values.service.port }}
            - name: metrics
              containerPort: {{ $values.service.metricsPort }}
          env: {{- include "rapport.env" . | nindent 12 }}
          {{- include "rapport.probes" . | nindent 10 }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ $values.drain.preStopSeconds }}
          resources: {{- toYaml .own.resources | nindent 12 }}
          securityContext: {{- include "rapport.containerSecurity" . | nindent 12 }}
          volumeMounts: {{- include "rapport.mounts" . | nindent 12 }}
      volumes: {{- include "rapport.volumes" . | nindent 8 }}
{{- end -}}

{{/*
Kubelet speaks plaintext gRPC and wants a number, not a port's name. The empty health service is the
process: it never depends on a database, so a database outage restarts nothing. The named service is
ready when it can serve at least degraded answers.
*/}}
{{- define "rapport.probes" -}}
{{- $port := .root.Values.service.port -}}
startupProbe:
  # Migrations and the replay of erasures happen before this passes: five minutes at most.
  grpc:
    port: {{ $port }}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  grpc:
    port: {{ $port }}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  grpc:
    port: {{ $port }}
    service: {{ include "rapport.healthService" . }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{- define "rapport.env" -}}
{{- $values := .root.Values -}}
{{- $prefix := upper .name -}}
- name: RAPPORT_LISTEN
  value: 0.0.0.0:{{ $values.service.port }}
- name: RAPPORT_METRICS_LISTEN
  value: 0.0.0.0:{{ $values.service.metricsPort }}
- name: {{ $prefix }}_DATA
  value: /var/lib/rapport
{{- if eq $values.storage.mode "external" }}
- name: {{ $prefix }}_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .own.store.existingSecret }}
      key: {{ .own.store.databaseUrlKey }}
- name: {{ $prefix }}_DATABASE_CONNECTIONS_MAX
  value: {{ .own.store.connectionsMax | quote }}
{{- /* Profile keeps nothing in Redis: its states must be listed, which a cache cannot do. */}}
{{- if ne $prefix "PROFILE" }}
- name: {{ $prefix }}_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .own.store.existingSecret }}
      key: {{ .own.store.redisUrlKey }}
{{- end }}
{{- else }}
- name: {{ $prefix }}_DATABASE_URL
  value: sqlite:///var/lib/rapport/{{ .name }}.sqlite
{{- end }}
- name: RAPPORT_AUTH
  value: {{ $values.auth.mode }}
- name: RAPPORT_AUTH_KEY_FILE
  value: /etc/rapport/auth/{{ $values.auth.key }}
- name: RAPPORT_REFLECTION
  value: {{ $values.service.reflection | quote }}
- name: RAPPORT_DRAIN_MAX
  value: {{ $values.drain.serverSeconds }}s
{{- if eq .name "profile" }}
- name: PROFILE_KEYRING
  value: /etc/rapport/keyring/{{ $values.keyring.key }}
{{- end }}
{{- $calls := include "rapport.calls" . | fromJsonArray }}
{{- range $service := $calls }}
- name: {{ $prefix }}_{{ upper $service }}_URL
  value: http://{{ include "rapport.fullname" (dict "root" $.root "name" $service) }}:{{ $values.service.port }}
{{- end }}
{{- if $calls }}
- name: RAPPORT_PEER_TOKEN_FILE
  value: /etc/rapport/peer/token
{{- end }}
- name: RAPPORT_LOG
  value: {{ $values.log | quote }}
- name: RAPPORT_LOG_FORMAT
  value: json
{{- with $values.telemetry.otlpEndpoint }}
- name: RAPPORT_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: RAPPORT_TRACE_SAMPLE_RATIO
  value: {{ $values.telemetry.traceSampleRatio | quote }}
{{- with .own.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "rapport.mounts" -}}
- name: data
  mountPath: /var/lib/rapport
# SQLite spills large sorts here; the root file system is read-only.
- name: tmp
  mountPath: /tmp
- name: auth
  mountPath: /etc/rapport/auth
  readOnly: true
{{- if include "rapport.calls" . | fromJsonArray }}
# The folder, not one file of it: a mounted file would never show a rotated secret.
- name: peer-token
  mountPath: /etc/rapport/peer
  readOnly: true
{{- end }}
{{- if eq .name "profile" }}
- name: keyring
  mountPath: /etc/rapport/keyring
  readOnly: true
{{- end }}
{{- end -}}

{{- define "rapport.volumes" -}}
- name: data
  {{- if .own.data.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .own.data.existingClaim }}
  {{- else if .own.data.size }}
  persistentVolumeClaim:
    claimName: {{ include "rapport.fullname" . }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .own.data.scratchLimit }}
  {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
- name: auth
  secret:
    secretName: {{ .root.Values.auth.existingSecret }}
    defaultMode: 0440
{{- if include "rapport.calls" . | fromJsonArray }}
- name: peer-token
  secret:
    secretName: {{ .root.Values.auth.peerTokensSecret }}
    defaultMode: 0440
    # Its own token and nobody else's.
    items:
      - key: {{ .name }}
        path: token
{{- end }}
{{- if eq .name "profile" }}
- name: keyring
  secret:
    secretName: {{ .root.Values.keyring.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end -}}
