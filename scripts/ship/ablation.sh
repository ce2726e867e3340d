#!/usr/bin/env bash
# SHIP's ablations, one change at a time: generators, start of the context, KL weight, number of context vectors, hidden
# sizes, share of synthetic features, and what goes beyond the paper; then the same around the config that validation
# chose ("tuned"). Tested among its own classes and among all.
#
#   bash scripts/ship/ablation.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#
# From the environment: ROWS (names of the rows below; default all), SUBSET (default gzsl; dev: within the base classes, to
# choose settings without a look at the test images; in a folder of its own), JOBS as in _experiment.sh, and DATA CFG
# SHOTS OUTPUT FEATURE_CACHE OPTS PYTHON VERBOSE as in _run.sh.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_experiment.sh"

# name, then KEY VALUE pairs under TRAINER
ablations() {
    local hard=100.0 # CLIP's logit scale
    if is_embedded "$dataset"; then hard=30.0; fi
    cat <<END
SHIP
GAN               SHIP.GENERATOR.NAME GAN
MLP               SHIP.GENERATOR.NAME MLP
Gaussian          SHIP.GENERATOR.NAME Gaussian
TextPoint         SHIP.GENERATOR.NAME TextPoint
residuals         SHIP.GENERATOR.OBSERVATION residuals
generator-words   SHIP.GENERATOR.CTX_INIT a_photo_of_a
learner-random    SHIP.CTX_INIT ""
kl-0.01           SHIP.GENERATOR.KL_WEIGHT 0.01
kl-0.1            SHIP.GENERATOR.KL_WEIGHT 0.1
L-1               SHIP.GENERATOR.N_CTX 1
L-16              SHIP.GENERATOR.N_CTX 16
hidden-quarter    SHIP.GENERATOR.HIDDEN 256 SHIP.GENERATOR.ENCODER_HIDDEN 128
hidden-double     SHIP.GENERATOR.HIDDEN 2048 SHIP.GENERATOR.ENCODER_HIDDEN 1024
share-0.25        SHIP.SYNTHETIC_SHARE 0.25
share-4           SHIP.SYNTHETIC_SHARE 4.0
weight-0.5        SHIP.SYNTHETIC_WEIGHT 0.5
of-all-classes    SHIP.SYNTHETIC_CLASSES all
filter            SHIP.FILTER True
posterior         SHIP.GENERATOR.LATENT posterior
kl-anneal         SHIP.GENERATOR.KL_ANNEAL 25
free-bits         SHIP.GENERATOR.FREE_BITS 10.0
own-and-joint     SHIP.OWN_WEIGHT 1.0
own-alone         SHIP.OWN_WEIGHT 1.0 SHIP.JOINT_WEIGHT 0.0
anchor            SHIP.ANCHOR_WEIGHT 1.0
contrast          SHIP.GENERATOR.CONTRAST_WEIGHT 1.0
text-anchor       SHIP.GENERATOR.ANCHOR_WEIGHT 1.0
tuned
tuned-hard        SHIP.LOGIT_SCALE $hard
tuned-joint-alone SHIP.OWN_WEIGHT 0.0
tuned-ratio-0.2   CLIPADAPTER.RATIO 0.2
tuned-share-2     SHIP.SYNTHETIC_SHARE 2.0
tuned-contrast    SHIP.GENERATOR.CONTRAST_WEIGHT 1.0
tuned-anchor      SHIP.GENERATOR.ANCHOR_WEIGHT 1.0
tuned-posterior   SHIP.GENERATOR.LATENT posterior
tuned-Gaussian    SHIP.GENERATOR.NAME Gaussian
tuned-TextPoint   SHIP.GENERATOR.NAME TextPoint
tuned-mean        SHIP.GENERATOR.OBSERVATION mean
END
}

take_arguments "$@"
SUBSET=${SUBSET:-gzsl}
table=ablation$([ "$SUBSET" = gzsl ] || echo "_$SUBSET")
need_dataset "$dataset"

run_one() { # "seed name KEY VALUE ..."
    local words pairs=() method=SHIP folder i
    read -r -a words <<<"$1"
    local seed=${words[0]} name=${words[1]}
    for ((i = 2; i < ${#words[@]}; i += 2)); do
        pairs+=("TRAINER.${words[i]}" "${words[i + 1]//\"/}")
    done
    case "$name" in tuned*) method=$tuned ;; esac
    folder="$OUTPUT/$table/$dataset/shots_$SHOTS/$name/$(config_of "$method" "$dataset")/seed$seed"
    step "$name seed $seed" "$folder" joint_run "$method" "$dataset" "$seed" "$folder" "$SUBSET" ${pairs[@]+"${pairs[@]}"}
}

rows=()
tuned=$(tuned_for "$dataset")
while read -r row; do
    case "$row" in tuned*) [ -n "$tuned" ] || continue ;; esac
    case " ${ROWS:-${row%% *}} " in *" ${row%% *} "*) rows+=("$row") ;; esac
done < <(ablations)
echo "Ablations of SHIP on $dataset, $SHOTS shots, seeds ${seeds[*]}"
for_each_pair run_one ${rows[@]+"${rows[@]}"}
stem="$OUTPUT/$table/${dataset}_shots_$SHOTS"
finish "$OUTPUT/$table" "$stem.md" "$stem.csv" "$stem.json"
